//! What becomes a schema and what is refused. The sample is put together by hand, for Miri's sake.

use bytes::Bytes;

use crate::wire::Writer;
use crate::{Kind, Schema, Syntax};

/// Encodes fields given last to first.
pub(crate) struct Encoded(Writer);

impl Encoded {
    pub fn new() -> Encoded {
        Encoded(Writer::new())
    }

    pub fn text(mut self, number: u32, value: &str) -> Encoded {
        self.0.push_bytes(value.as_bytes());
        self.0.push_tag(number << 3 | 2);
        self
    }

    pub fn part(mut self, number: u32, value: Encoded) -> Encoded {
        self.0.push_bytes(value.0.as_slice());
        self.0.push_tag(number << 3 | 2);
        self
    }

    pub fn int(mut self, number: u32, value: u64) -> Encoded {
        self.0.push_varint(value);
        self.0.push_tag(number << 3);
        self
    }

    pub fn bytes(mut self) -> Bytes {
        self.0.take()
    }
}

pub(crate) fn field(name: &str, number: u64, label: u64, kind: u64, type_name: &str) -> Encoded {
    let f = Encoded::new().text(1, name).int(3, number).int(4, label).int(5, kind);
    if type_name.is_empty() { f } else { f.text(6, type_name) }
}

pub(crate) fn sample_file() -> Bytes {
    let entry = Encoded::new()
        .int_option(7, 7, 1)
        .part(2, field("value", 2, 1, 11, ".t.T"))
        .part(2, field("key", 1, 1, 9, ""))
        .text(1, "MapEntry");
    let message = Encoded::new()
        .part(8, Encoded::new().text(1, "_flag"))
        .part(8, Encoded::new().text(1, "o"))
        .part(3, entry)
        .part(2, field("flag", 11, 1, 8, "").int(17, 1).int(9, 1))
        .part(2, field("many", 10, 3, 11, ".t.T"))
        .part(2, field("words", 9, 3, 9, ""))
        .part(2, field("c", 8, 1, 3, "").int(9, 0))
        .part(2, field("b", 7, 1, 11, ".t.T").int(9, 0))
        .part(2, field("a", 6, 1, 9, "").int(9, 0))
        .part(2, field("map", 5, 3, 11, ".t.T.MapEntry"))
        .part(2, field("next", 4, 1, 11, "T"))
        .part(2, field("list", 3, 3, 5, ""))
        .part(2, field("n", 2, 1, 5, ""))
        .part(2, field("s", 1, 1, 9, ""))
        .text(1, "T");
    Encoded::new().text(12, "proto3").part(4, message).text(2, "t").text(1, "t.proto").bytes()
}

impl Encoded {
    /// An options message with one varint.
    pub fn int_option(self, number: u32, option: u32, value: u64) -> Encoded {
        self.part(number, Encoded::new().int(option, value))
    }
}

#[test]
fn a_file_given_as_bytes_answers_by_name_number_and_json_name() {
    let schema = Schema::from_files([sample_file()]).unwrap();
    let ty = schema.message("t.T").unwrap();
    assert_eq!(ty.fields().map(|f| f.number()).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    assert_eq!(ty.field("next").unwrap().message_type(), Some(ty.clone()));
    assert!(ty.field("map").unwrap().is_map());
    assert_eq!(ty.field("map").unwrap().map_key().unwrap().kind(), Kind::String);
    assert!(ty.field("list").unwrap().is_packed());
    assert_eq!(ty.field("list").unwrap().wire_tag(), [3 << 3 | 2]);
    assert!(
        ty.field("flag").unwrap().has_presence() && ty.field("flag").unwrap().oneof().is_none()
    );
    assert!(!ty.field("n").unwrap().has_presence());
    assert_eq!(ty.oneofs().map(|o| o.fields().len()).collect::<Vec<_>>(), [3]);
    assert_eq!(schema.file_syntax("t.proto"), Some(Syntax::Proto3));
}
