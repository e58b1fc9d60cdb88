//! The testee of protobuf's conformance runner, over our own messages.
//!
//! The runner writes a four-byte little-endian length and a `ConformanceRequest`, and reads the same with a
//! `ConformanceResponse`, until it closes standard input. The first argument (or `CONFORMANCE_SET`) is a descriptor set with
//! conformance.proto and all test messages, as `scripts/conformance.sh` makes it. Spec: conformance/conformance.proto.

use std::io::{self, Read, Write};

use stubless_codec::{EncodeOptions, JsonParseOptions, Message, MessageType, Schema, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("CONFORMANCE_SET").ok())
        .ok_or("no descriptor set given")?;
    let schema = Schema::from_descriptor_set(std::fs::read(path)?)?;
    let request =
        schema.message("conformance.ConformanceRequest").ok_or("conformance.proto is missing")?;
    let response =
        schema.message("conformance.ConformanceResponse").ok_or("conformance.proto is missing")?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut len = [0; 4];
        match input.read_exact(&mut len) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        input.read_exact(&mut bytes)?;
        let answer = answer(&schema, &request.decode(bytes)?, &response)?.encode()?;
        output.write_all(&(answer.len() as u32).to_le_bytes())?;
        output.write_all(&answer)?;
        output.flush()?;
    }
}

/// What became of one request: the name of a field of `ConformanceResponse`, and its value.
enum Outcome {
    Text(&'static str, String),
    Binary(Vec<u8>),
}

fn answer(
    schema: &Schema,
    request: &Message,
    response: &MessageType,
) -> Result<Message, Box<dyn std::error::Error>> {
    let mut out = response.new_message();
    match outcome(schema, request)? {
        Outcome::Text(field, text) => out.set_by_name(field, text.as_str())?,
        Outcome::Binary(bytes) => out.set_by_name("protobuf_payload", &bytes)?,
    }
    Ok(out)
}

fn outcome(schema: &Schema, request: &Message) -> Result<Outcome, Box<dyn std::error::Error>> {
    let text = |field, text: &str| Ok(Outcome::Text(field, text.to_owned()));
    let Value::Str(name) = request.get_by_name("message_type")? else {
        return text("runtime_error", "no type");
    };
    let payload = request.message_type().oneof("payload").and_then(|o| request.which_oneof(&o));
    let Some(payload) = payload else { return text("runtime_error", "no payload") };
    if name == "conformance.FailureSet" {
        return Ok(Outcome::Binary(Vec::new()));
    }
    let Some(ty) = schema.message(name) else { return text("runtime_error", "unknown type") };
    let decoded = match (payload.name(), request.get(&payload)) {
        ("protobuf_payload", Value::Bytes(bytes)) => {
            Message::decode_slice(&ty, bytes).map_err(|e| e.to_string())
        }
        ("json_payload", Value::Str(json)) => {
            // JSON_IGNORE_UNKNOWN_PARSING_TEST
            let lenient = request.get_by_name("test_category")? == Value::Enum(3);
            let options = JsonParseOptions::new().ignore_unknown_fields(lenient);
            ty.from_json_with(json, &options).map_err(|e| e.to_string())
        }
        _ => return text("skipped", "neither binary nor JSON"),
    };
    let message = match decoded {
        Ok(message) => message,
        Err(e) => return text("parse_error", &e),
    };
    match request.get_by_name("requested_output_format")? {
        // PROTOBUF
        Value::Enum(1) => match message.encode_with(EncodeOptions::deterministic()) {
            Ok(bytes) => Ok(Outcome::Binary(bytes.to_vec())),
            Err(e) => text("serialize_error", &e.to_string()),
        },
        // JSON
        Value::Enum(2) => match message.to_json() {
            Ok(json) => Ok(Outcome::Text("json_payload", json)),
            Err(e) => text("serialize_error", &e.to_string()),
        },
        _ => text("skipped", "neither binary nor JSON"),
    }
}
