//! The rules of the mapping, one story each.

use crate::{JsonErrorKind, JsonParseOptions, JsonPrintOptions, Message, MessageType, Schema};

mod known;
mod mutation;
mod print;
mod rules;
mod text;

const PROTO3: &str = r#"
syntax = "proto3";
package t;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

enum E { ZERO = 0; ONE = 1; UNO = 2; TWO = 2; option allow_alias = true; MINUS = -1; }
message M {
  int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6;
  fixed32 f32 = 7; fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float fl = 11; double db = 12;
  bool b = 13; string s = 14; bytes by = 15; E e = 16; M m = 17;
  optional int32 opt_int = 18; string two_words = 19; string renamed = 20 [json_name = "other\"name"];
  repeated int32 ints = 31; repeated string strs = 32; repeated M ms = 33; repeated E es = 34; repeated double dbs = 35;
  map<int32, int32> mii = 40; map<string, M> msm = 41; map<bool, bool> mbb = 42; map<string, E> mse = 43;
  map<uint64, string> mus = 44; map<sint64, bytes> mis = 45; map<fixed32, float> mff = 46;
  oneof o { int32 oi = 50; string os = 51; M om = 52; google.protobuf.NullValue onull = 53; }
  google.protobuf.NullValue null = 54; repeated google.protobuf.NullValue nulls = 55;
  google.protobuf.Any any = 60; google.protobuf.Timestamp ts = 61; google.protobuf.Duration dur = 62;
  google.protobuf.FieldMask mask = 63; google.protobuf.Struct st = 64; google.protobuf.Value val = 65;
  google.protobuf.ListValue list = 66; google.protobuf.Empty empty = 67; repeated google.protobuf.Value vals = 68;
  google.protobuf.Int64Value wi64 = 70; google.protobuf.DoubleValue wd = 71; google.protobuf.StringValue ws = 72;
  google.protobuf.BoolValue wb = 73; google.protobuf.BytesValue wby = 74; repeated google.protobuf.Int32Value wis = 75;
}
"#;

const PROTO2: &str = r#"
syntax = "proto2";
package two;
enum Closed { FIRST = 1; SECOND = 2; }
message M {
  optional int32 n = 1 [default = 5]; optional string s = 2; optional Closed e = 3; repeated Closed es = 4;
  map<int32, Closed> me = 5; optional group Grp = 6 { optional int32 inside_it = 1; } optional Need need = 7;
  extensions 100 to 200;
}
message Need { required int32 a = 1; required string b = 2; }
message Set { option message_set_wire_format = true; extensions 4 to max; }
message Item { extend Set { optional Item item = 1234; } optional string text = 1; }
extend M { optional int32 xi = 100; repeated string xs = 101; optional M xm = 102; }
"#;

fn schema() -> Schema {
    Schema::from_source([("t.proto", PROTO3), ("two.proto", PROTO2)]).expect("both compile")
}

fn three() -> MessageType {
    schema().message("t.M").expect("declared")
}

fn two() -> MessageType {
    schema().message("two.M").expect("declared")
}

/// Text in, the same message out again; by way of bytes as well.
fn round(ty: &MessageType, text: &str) -> String {
    let message = ty.from_json(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let back = ty.decode(message.encode().expect("complete")).expect("our own bytes");
    let printed = message.to_json().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(back.to_json().expect("printed before"), printed);
    printed
}

/// What an error is, and where.
fn refused(ty: &MessageType, text: &str) -> JsonErrorKind {
    match ty.from_json(text) {
        Err(e) => e.kind(),
        Ok(message) => panic!("{text} was taken for {message:?}"),
    }
}

fn all_refused(ty: &MessageType, kind: JsonErrorKind, texts: &[&str]) {
    for text in texts {
        assert_eq!(refused(ty, text), kind, "{text}");
    }
}

fn unchanged(ty: &MessageType, texts: &[&str]) {
    for text in texts {
        assert_eq!(round(ty, text), *text);
    }
}

fn becomes(ty: &MessageType, pairs: &[(&str, &str)]) {
    for (text, printed) in pairs {
        assert_eq!(round(ty, text), *printed, "{text}");
    }
}

fn lenient() -> JsonParseOptions {
    JsonParseOptions::new().ignore_unknown_fields(true)
}

fn printed(message: &Message, options: JsonPrintOptions) -> String {
    message.to_json_with(&options).expect("printable")
}
