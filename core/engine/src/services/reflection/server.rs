//! The server's side of reflection.
//!
//! Files come from the schema it was given and, where that has none, from the engine's own descriptors, so that health and
//! reflection can describe themselves and clients can ask for well-known types.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, Weak};

use bytes::{Bytes, BytesMut};
use stubless_codec::Schema;
use stubless_codec::wire::RawValue;

use super::{METHOD, SERVICES, request, response};
use crate::call::{MethodKind, ServerEvent};
use crate::error::Error;
use crate::metadata::Metadata;
use crate::rt::lock;
use crate::server::{Inner, Server, ServerCall};
use crate::services::wire::{Unreadable, one_field, put_bytes, put_i32, put_packed, read, text};
use crate::services::{bundled, method, quoted, sent, unreadable};
use crate::status::{Code, Status};

/// The reflection services of a server. Cheap to clone; any thread may change the schema.
#[derive(Clone)]
pub struct Reflection(Arc<Shared>);

struct Shared {
    /// Not a `Server`: its last clone stops it, and this lives inside it.
    server: Weak<Inner>,
    schema: Mutex<Schema>,
}

impl Reflection {
    /// Registers v1 and v1alpha on `server`, to tell what `schema` knows. The services listed are those registered on the server
    /// at the time of the question.
    ///
    /// # Errors
    /// The server has a service of one of these names already; then neither is registered.
    pub fn new(server: &Server, schema: Schema) -> Result<Reflection, Error> {
        let shared =
            Arc::new(Shared { server: Arc::downgrade(&server.inner), schema: Mutex::new(schema) });
        for (at, service) in SERVICES.into_iter().enumerate() {
            let shared = shared.clone();
            let info =
                method(METHOD, MethodKind::BIDI_STREAMING, move |call| serve(shared.clone(), call));
            if let Err(error) = server.register(service, vec![info]) {
                for registered in SERVICES.into_iter().take(at) {
                    server.unregister(registered);
                }
                return Err(error);
            }
        }
        Ok(Reflection(shared))
    }

    /// Tells another schema from now on, also on streams that are open.
    pub fn set_schema(&self, schema: Schema) {
        *lock(&self.0.schema) = schema;
    }

    /// The schema told now.
    pub fn schema(&self) -> Schema {
        lock(&self.0.schema).clone()
    }
}

impl std::fmt::Debug for Reflection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reflection").field(&self.schema()).finish()
    }
}

async fn serve(shared: Arc<Shared>, mut call: ServerCall) {
    let mut stream = Stream { schema: lock(&shared.schema).clone(), sent: HashSet::new() };
    loop {
        match poll_fn(|cx| call.poll_event(cx)).await {
            ServerEvent::Message(message) => {
                let schema = lock(&shared.schema).clone();
                if !schema.same_as(&stream.schema) {
                    stream = Stream { schema, sent: HashSet::new() };
                }
                let answered =
                    stream.answer(&shared, &message).and_then(|answer| call.send_message(answer));
                if let Err(status) = answered {
                    return call.finish(&status, &Metadata::new());
                }
                // one answer at a time: a client that does not read gets no further
                if !sent(&mut call).await {
                    return;
                }
            }
            ServerEvent::HalfClosed => return call.finish(&Status::ok(), &Metadata::new()),
            _ => return,
        }
    }
}

/// What one stream has been told.
struct Stream {
    schema: Schema,
    /// Names of files that need not be sent again unless they are asked for.
    sent: HashSet<String>,
}

/// What a request asks for.
enum Question {
    FileByFilename(String),
    FileContainingSymbol(String),
    FileContainingExtension(String, i32),
    AllExtensionNumbersOfType(String),
    ListServices,
}

/// Why there is no answer: told to the client, and the stream goes on.
struct Missing(String);

impl Stream {
    fn answer(&mut self, shared: &Shared, message: &[u8]) -> Result<Bytes, Status> {
        let (host, question) = parse(message).map_err(|Unreadable| unreadable())?;
        let question = question.ok_or_else(|| {
            Status::new(
                Code::InvalidArgument,
                "the request asks for nothing: message_request is not set",
            )
        })?;
        let mut answer = BytesMut::new();
        if !host.is_empty() {
            put_bytes(&mut answer, response::VALID_HOST, host.as_bytes());
        }
        put_bytes(&mut answer, response::ORIGINAL_REQUEST, message);
        let found = match question {
            Question::FileByFilename(name) => self.files(&name, "file", |schema| {
                schema.file_names().find(|known| *known == name).map(str::to_owned)
            }),
            Question::FileContainingSymbol(name) => self
                .files(&name, "symbol", |schema| schema.file_of_symbol(&name).map(str::to_owned)),
            Question::FileContainingExtension(name, number) => {
                let found = |schema: &Schema| {
                    let number = u32::try_from(number).ok()?;
                    schema.file_of_extension(&name, number).map(str::to_owned)
                };
                self.files(&format!("{} {number}", quoted(&name)), "extension", found)
            }
            Question::AllExtensionNumbersOfType(name) => self.extension_numbers(&name),
            Question::ListServices => Ok((response::LIST_SERVICES, list_services(shared))),
        };
        let (field, body) = found.unwrap_or_else(|Missing(text)| {
            let mut error = BytesMut::new();
            put_i32(&mut error, 1, Code::NotFound.number() as i32);
            put_bytes(&mut error, 2, text.as_bytes());
            (response::ERROR, error.freeze())
        });
        put_bytes(&mut answer, field, &body);
        Ok(answer.freeze())
    }

    /// The file `find` finds, and what it imports, as far as this stream has not got it yet.
    fn files(
        &mut self,
        name: &str,
        what: &str,
        find: impl Fn(&Schema) -> Option<String>,
    ) -> Result<(u32, Bytes), Missing> {
        let own = bundled::schema();
        let (schema, file) = match find(&self.schema) {
            Some(file) => (&self.schema, file),
            None => (
                own,
                find(own).ok_or_else(|| Missing(format!("{what} not found: {}", quoted(name))))?,
            ),
        };
        let mut files = BytesMut::new();
        let imports = schema.transitive_imports(&file);
        for (at, name) in std::iter::once(file.as_str()).chain(imports).enumerate() {
            let wanted = self.sent.insert(name.to_owned()) || at == 0;
            if let (true, Some(bytes)) = (wanted, schema.file_bytes(name)) {
                put_bytes(&mut files, 1, &bytes);
            }
        }
        Ok((response::FILE_DESCRIPTOR, files.freeze()))
    }

    fn extension_numbers(&self, name: &str) -> Result<(u32, Bytes), Missing> {
        let numbers = self
            .schema
            .extension_numbers(name)
            .or_else(|| bundled::schema().extension_numbers(name));
        let numbers =
            numbers.ok_or_else(|| Missing(format!("type not found: {}", quoted(name))))?;
        let mut body = BytesMut::new();
        put_bytes(&mut body, 1, name.as_bytes());
        put_packed(&mut body, 2, numbers.into_iter().map(|number| number as i32));
        Ok((response::ALL_EXTENSION_NUMBERS, body.freeze()))
    }
}

fn list_services(shared: &Shared) -> Bytes {
    let names = shared.server.upgrade().map_or(Vec::new(), |server| server.router().services());
    let mut list = BytesMut::new();
    for name in names {
        put_bytes(&mut list, 1, &one_field(1, name.as_bytes()));
    }
    list.freeze()
}

/// The host and the question. Of several questions the last counts, as everywhere in protobuf.
fn parse(message: &[u8]) -> Result<(String, Option<Question>), Unreadable> {
    let (mut host, mut question) = (String::new(), None);
    read(message, |number, value| {
        let RawValue::Length(bytes) = value else { return Ok(()) };
        match number {
            1 => host = text(bytes)?,
            request::FILE_BY_FILENAME => question = Some(Question::FileByFilename(text(bytes)?)),
            request::FILE_CONTAINING_SYMBOL => {
                question = Some(Question::FileContainingSymbol(text(bytes)?))
            }
            request::FILE_CONTAINING_EXTENSION => {
                let (mut name, mut extension) = (String::new(), 0);
                read(bytes, |number, value| {
                    match (number, value) {
                        (1, RawValue::Length(bytes)) => name = text(bytes)?,
                        (2, RawValue::Varint(value)) => extension = value as i32,
                        _ => {}
                    }
                    Ok(())
                })?;
                question = Some(Question::FileContainingExtension(name, extension));
            }
            request::ALL_EXTENSION_NUMBERS_OF_TYPE => {
                question = Some(Question::AllExtensionNumbersOfType(text(bytes)?));
            }
            request::LIST_SERVICES => {
                text(bytes)?;
                question = Some(Question::ListServices);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((host, question))
}
