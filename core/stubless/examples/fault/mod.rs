//! The service that `tests/faults` calls, as both of its programs need it.

use bytes::Bytes;
use stubless_codec::{Field, Message, MessageType, Schema, Service, Value};

/// `fault.Msg`, with its fields at hand.
#[derive(Clone)]
pub struct Msg {
    ty: MessageType,
    text: Field,
    n: Field,
    service: Service,
}

impl Msg {
    pub fn load() -> Msg {
        let proto = include_str!("../../../../tests/faults/fault.proto");
        let schema = Schema::from_source([("fault.proto", proto)]).expect("fault.proto compiles");
        let ty = schema.message("fault.Msg").expect("fault.proto has Msg");
        let field = |name: &str| ty.field(name).expect("Msg has its fields");
        let service = schema.service("fault.Echo").expect("fault.proto has Echo");
        Msg { service, text: field("text"), n: field("n"), ty }
    }

    /// The names of the service's methods.
    pub fn methods(&self) -> Vec<String> {
        self.service.methods().map(|method| method.name().to_owned()).collect()
    }

    /// The text and the number in `bytes`; an error text for what is no message.
    pub fn decode(&self, bytes: Bytes) -> Result<(String, i32), String> {
        let message = self.ty.decode(bytes).map_err(|error| error.to_string())?;
        Ok((self.text_of(&message), self.number_of(&message)))
    }

    fn text_of(&self, message: &Message) -> String {
        match message.get(&self.text) {
            Value::Str(text) => text.to_owned(),
            _ => String::new(),
        }
    }

    fn number_of(&self, message: &Message) -> i32 {
        match message.get(&self.n) {
            Value::I32(n) => n,
            _ => 0,
        }
    }

    pub fn encode(&self, text: &str, n: i32) -> Bytes {
        let mut message = self.ty.new_message();
        message.set(&self.text, text).expect("a string field");
        message.set(&self.n, n).expect("an int32 field");
        message.encode().expect("every Msg encodes")
    }
}
