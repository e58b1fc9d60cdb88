//! The server: the interop service and demo.v1.Echo.

use std::time::Duration;

use stubless::{
    Code, Context, Encoding, Message, MessageType, Metadata, Responder, RpcError, Schema, Server,
    ServerTls, ServerTlsConfig, Service, Value, ValueError,
};
use tokio::io::AsyncReadExt;

use crate::{Outcome, Tls};

pub async fn serve(schema: &Schema, port: u16, tls: Option<Tls>) -> Outcome<()> {
    let server = Server::new(schema)?;
    server.add(interop(schema)?)?;
    server.add(echo(schema)?)?;
    let address = format!("127.0.0.1:{port}");
    let port = match tls {
        None => server.listen(&address)?,
        Some(tls) => {
            let authority = tls.mutual.then(|| tls.file("ca.pem")).transpose()?;
            let (cert, key) = (
                tls.file(&format!("{}.pem", tls.identity))?,
                tls.file(&format!("{}.key", tls.identity))?,
            );
            let config = ServerTlsConfig {
                cert: &cert,
                key: &key,
                client_ca: authority.as_deref(),
                client_cert_optional: false,
            };
            server.listen_tls(&address, ServerTls::new(&config)?)?
        }
    };
    println!("ready {port}");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    server.shutdown(Duration::ZERO).await;
    Ok(())
}

fn wrong(error: ValueError) -> RpcError {
    RpcError::new(Code::Internal, error.to_string())
}

/// A message field inside another, or an empty one of its type.
fn int(message: stubless::MessageRef<'_>, field: &str) -> i32 {
    match message.get_by_name(field) {
        Ok(Value::I32(value)) => value,
        _ => 0,
    }
}

fn asked_status(request: &Message) -> Result<(), RpcError> {
    let Ok(Value::Message(status)) = request.get_by_name("response_status") else { return Ok(()) };
    let text = match status.get_by_name("message") {
        Ok(Value::Str(text)) => text,
        _ => "",
    };
    match int(status, "code") {
        0 => Ok(()),
        code => Err(RpcError::new(Code::from_number(code as u32), text)),
    }
}

/// The metadata the interop description wants echoed.
fn echo_metadata(context: &Context) {
    for (key, initial) in
        [("x-grpc-test-echo-initial", true), ("x-grpc-test-echo-trailing-bin", false)]
    {
        let Some(value) = context.metadata().get(key) else { continue };
        let mut metadata = Metadata::new();
        if metadata.insert(key, value.as_bytes().to_vec()).is_ok() {
            if initial { context.set_headers(metadata) } else { context.set_trailers(metadata) }
        }
    }
}

/// Makes the replies of the interop service.
#[derive(Clone)]
struct Replies {
    unary: MessageType,
    stream: MessageType,
    sum: MessageType,
    empty: MessageType,
}

impl Replies {
    /// A reply with a payload of `size` zero bytes.
    fn with_payload(
        &self,
        reply: &MessageType,
        request: &Message,
        size: i32,
    ) -> Result<Message, RpcError> {
        if !request.get_by_name("response_type").is_ok_and(|kind| kind.is_zero()) {
            return Err(RpcError::new(Code::InvalidArgument, "unknown payload type"));
        }
        let mut message = reply.new_message();
        let payload =
            reply.field("payload").ok_or_else(|| RpcError::new(Code::Internal, "no payload"))?;
        let zeros = vec![0_u8; size.max(0) as usize];
        message
            .mutable(&payload)
            .map_err(wrong)?
            .set_by_name("body", zeros.as_slice())
            .map_err(wrong)?;
        Ok(message)
    }

    /// Sends what one request of a streaming output method asks for.
    async fn send(&self, request: &Message, replies: &mut Responder) -> Result<(), RpcError> {
        let mut wanted = Vec::new();
        if let Ok(Value::List(list)) = request.get_by_name("response_parameters") {
            for one in list.iter() {
                if let Value::Message(one) = one {
                    wanted.push((int(one, "size"), int(one, "interval_us")));
                }
            }
        }
        for (size, pause_us) in wanted {
            if pause_us > 0 {
                tokio::time::sleep(Duration::from_micros(pause_us as u64)).await;
            }
            replies.send(&self.with_payload(&self.stream, request, size)?).await?;
        }
        asked_status(request)
    }
}

fn interop(schema: &Schema) -> Outcome<Service> {
    let found = |name: &str| schema.message(name).ok_or_else(|| format!("the schema lacks {name}"));
    let replies = Replies {
        unary: found("grpc.testing.SimpleResponse")?,
        stream: found("grpc.testing.StreamingOutputCallResponse")?,
        sum: found("grpc.testing.StreamingInputCallResponse")?,
        empty: found("grpc.testing.Empty")?,
    };
    let mut service = Service::new(schema, "grpc.testing.TestService")?;
    let with = replies.clone();
    service = service.unary("EmptyCall", move |_, context| {
        echo_metadata(&context);
        let reply = with.empty.new_message();
        async move { Ok(reply) }
    });
    for name in ["UnaryCall", "CacheableUnaryCall"] {
        let with = replies.clone();
        service = service.unary(name, move |request, context| {
            echo_metadata(&context);
            let with = with.clone();
            async move {
                asked_status(&request)?;
                if let Ok(Value::Message(compressed)) = request.get_by_name("response_compressed")
                    && compressed.get_by_name("value").is_ok_and(|on| !on.is_zero())
                {
                    context.set_compression(Encoding::Gzip);
                }
                with.with_payload(&with.unary, &request, int(request.as_ref(), "response_size"))
            }
        });
    }
    let with = replies.clone();
    service =
        service.server_streaming("StreamingOutputCall", move |request, context, mut responder| {
            echo_metadata(&context);
            let with = with.clone();
            async move { with.send(&request, &mut responder).await }
        });
    let with = replies.clone();
    service = service.client_streaming("StreamingInputCall", move |mut requests, context| {
        echo_metadata(&context);
        let sum = with.sum.clone();
        async move {
            let mut total = 0;
            while let Some(request) = requests.message().await? {
                if let Ok(Value::Message(payload)) = request.get_by_name("payload")
                    && let Ok(Value::Bytes(body)) = payload.get_by_name("body")
                {
                    total += body.len() as i32;
                }
            }
            let mut reply = sum.new_message();
            reply.set_by_name("aggregated_payload_size", total).map_err(wrong)?;
            Ok(reply)
        }
    });
    let with = replies.clone();
    service = service.bidi("FullDuplexCall", move |mut requests, context, mut responder| {
        echo_metadata(&context);
        let with = with.clone();
        async move {
            while let Some(request) = requests.message().await? {
                with.send(&request, &mut responder).await?;
            }
            Ok(())
        }
    });
    Ok(service.bidi("HalfDuplexCall", move |mut requests, context, mut responder| {
        echo_metadata(&context);
        let with = replies.clone();
        async move {
            let mut gathered = Vec::new();
            while let Some(request) = requests.message().await? {
                gathered.push(request);
            }
            for request in gathered {
                with.send(&request, &mut responder).await?;
            }
            Ok(())
        }
    }))
}

fn numbered(message: &MessageType, n: i32) -> Result<Message, RpcError> {
    let mut reply = message.new_message();
    reply.set_by_name("n", n).map_err(wrong)?;
    Ok(reply)
}

fn echo(schema: &Schema) -> Outcome<Service> {
    let message = schema.message("demo.v1.Msg").ok_or("the schema lacks demo.v1.Msg")?;
    let (counted, summed) = (message.clone(), message);
    let service = Service::new(schema, "demo.v1.Echo")?
        .unary("Unary", |request, context| async move {
            if request.get_by_name("text").is_ok_and(|text| text.is_zero()) {
                return Err(RpcError::new(Code::NotFound, "no text"));
            }
            let mut trailers = Metadata::new();
            if trailers.insert("x-took", "1").is_ok() {
                context.set_trailers(trailers);
            }
            Ok(request)
        })
        .server_streaming("ServerStream", move |request, _, mut responder| {
            let message = counted.clone();
            async move {
                for n in 0..int(request.as_ref(), "n") {
                    responder.send(&numbered(&message, n)?).await?;
                }
                Ok(())
            }
        })
        .client_streaming("ClientStream", move |mut requests, _| {
            let message = summed.clone();
            async move {
                let mut sum = 0;
                while let Some(request) = requests.message().await? {
                    sum += int(request.as_ref(), "n");
                }
                numbered(&message, sum)
            }
        })
        .bidi("Bidi", |mut requests, _, mut responder| async move {
            while let Some(request) = requests.message().await? {
                responder.send(&request).await?;
            }
            Ok(())
        });
    Ok(service)
}
