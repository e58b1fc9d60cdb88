//! A server made of a `.proto` file at run time: `hello_server [ADDRESS]` (default 127.0.0.1:50051).
//!
//! Prints `ready PORT` and serves until it is killed.

use std::path::PathBuf;

use stubless::{Code, Message, MessageType, RpcError, Schema, Server, Service};

fn greeting(reply: &MessageType, names: &[String]) -> Result<Message, RpcError> {
    let mut message = reply.new_message();
    message
        .set_by_name("text", format!("Hello, {}!", names.join(" and ")).as_str())
        .map_err(|error| RpcError::new(Code::Internal, error.to_string()))?;
    Ok(message)
}

fn name_of(request: &Message) -> Result<String, RpcError> {
    match request.get_by_name("name") {
        Ok(stubless::Value::Str(name)) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(RpcError::new(Code::InvalidArgument, "the name is empty")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".into());
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
    let schema = Schema::load(["hello.proto"], [here])?;
    let reply = schema.message("hello.v1.Greeting").ok_or("the schema lacks Greeting")?;
    let (one, often, all, chat) = (reply.clone(), reply.clone(), reply.clone(), reply);

    let greeter = Service::new(&schema, "hello.v1.Greeter")?
        .unary("Greet", move |request, _| {
            let reply = one.clone();
            async move { greeting(&reply, &[name_of(&request)?]) }
        })
        .server_streaming("GreetOften", move |request, _, mut responses| {
            let reply = often.clone();
            async move {
                let times = match request.get_by_name("times") {
                    Ok(stubless::Value::I32(times)) => times,
                    _ => 0,
                };
                for _ in 0..times {
                    responses.send(&greeting(&reply, &[name_of(&request)?])?).await?;
                }
                Ok(())
            }
        })
        .client_streaming("GreetAll", move |mut requests, _| {
            let reply = all.clone();
            async move {
                let mut names = Vec::new();
                while let Some(request) = requests.message().await? {
                    names.push(name_of(&request)?);
                }
                greeting(&reply, &names)
            }
        })
        .bidi("Chat", move |mut requests, _, mut responses| {
            let reply = chat.clone();
            async move {
                while let Some(request) = requests.message().await? {
                    responses.send(&greeting(&reply, &[name_of(&request)?])?).await?;
                }
                Ok(())
            }
        });

    let server = Server::new(&schema)?;
    server.add(greeter)?;
    println!("ready {}", server.listen(&address)?);
    server.stopped().await;
    Ok(())
}
