//! The places where protobuf decoders differ or break, one story each. Bytes are written by hand.

use stubless_codec::{
    DecodeErrorKind as Kind, EncodeError, Limits, Message, MessageType, Schema, SchemaError, Value,
};

const SOURCE: &str = r#"
syntax = "proto2";
package p;
enum E { A = 1; B = 2; }
message M {
  optional int32 i = 1; optional string s = 2; optional M m = 3; repeated int32 r = 4; optional E e = 5;
  repeated E es = 6; optional group G = 7 { optional int32 x = 1; optional M m = 2; }
  oneof o { M om = 8; int32 oi = 9; } map<string, E> me = 10; map<int32, M> mm = 11; optional bool b = 12;
  optional float f = 13; optional double d = 14; repeated E pe = 15 [packed = true]; optional int64 l = 16;
  map<string, int32> ms = 17; optional int32 big = 536870911; optional string def = 18 [default = "x\ty"];
  optional bytes raw = 19 [default = "\001\377"]; optional E ed = 20 [default = B]; optional double inf = 21 [default = -inf];
  extensions 100 to 199;
}
message Req { required int32 a = 1; repeated Req kids = 2; map<int32, Req> map = 3; }
message Set { option message_set_wire_format = true; extensions 4 to max; }
message Item { extend Set { optional Item item = 1547769; } optional string s = 1; }
extend M { optional M xm = 100; repeated E xe = 101; optional E x1 = 102; }
"#;

const PROTO3: &str = r#"
syntax = "proto3";
package q;
message M { string s = 1; repeated string rs = 2; map<string, string> m = 3; oneof o { string os = 4; } double d = 5; int32 i = 6; }
"#;

fn ty(name: &str) -> MessageType {
    let schema = Schema::from_source([("p.proto", SOURCE), ("q.proto", PROTO3)]).expect("compiles");
    schema.message(name).expect("declared")
}

fn decode(bytes: &[u8]) -> Result<Message, Kind> {
    Message::decode_slice(&ty("p.M"), bytes).map_err(|e| e.kind())
}

fn reencoded(bytes: &[u8]) -> Vec<u8> {
    decode(bytes).expect("valid").encode().expect("nothing is required").to_vec()
}

fn get<'m>(m: &'m Message, name: &str) -> Value<'m> {
    m.get_by_name(name).expect("declared")
}

#[test]
fn tags_that_are_no_tags() {
    assert_eq!(decode(&[0x00, 0x01]), Err(Kind::FieldNumber), "field number 0");
    assert_eq!(decode(&[0x80, 0x00, 0x01]), Err(Kind::FieldNumber), "field number 0 in two bytes");
    assert_eq!(decode(&[0x0e, 0x01]), Err(Kind::WireType), "wire type 6");
    assert_eq!(decode(&[0x0f, 0x01]), Err(Kind::WireType), "wire type 7");
    assert_eq!(decode(&[0xfe, 0x01, 0x01]), Err(Kind::WireType), "wire type 6 in two bytes");
    assert_eq!(
        decode(&[0x88, 0x80, 0x80, 0x80, 0x80, 0x00, 0x01]),
        Err(Kind::VarintTooLong),
        "six bytes"
    );
    assert_eq!(
        decode(&[0x88, 0x80, 0x80, 0x80, 0x10, 0x01]),
        Err(Kind::FieldNumber),
        "above 2^29 - 1"
    );
    let long = decode(&[0x88, 0x80, 0x80, 0x80, 0x00, 0x07]).expect("five bytes are allowed");
    assert_eq!(get(&long, "i"), Value::I32(7));
    let big = decode(&[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x05]).expect("the largest number");
    assert_eq!(get(&big, "big"), Value::I32(5));
}

#[test]
fn varints_stop_at_ten_bytes_and_truncate_to_their_type() {
    let mut eleven = vec![0x08];
    eleven.extend([0xff; 10]);
    eleven.push(0x01);
    assert_eq!(decode(&eleven), Err(Kind::VarintTooLong));
    let minus_one = decode(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
        .expect("ten bytes");
    assert_eq!(get(&minus_one, "i"), Value::I32(-1));
    let high = decode(&[0x08, 0x81, 0x80, 0x80, 0x80, 0x10]).expect("bit 32 is dropped");
    assert_eq!(get(&high, "i"), Value::I32(1));
    let truth = decode(&[0x60, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02])
        .expect("not zero, though its low 32 bits are");
    assert_eq!(get(&truth, "b"), Value::Bool(true));
}

#[test]
fn lengths_past_the_end_everywhere() {
    assert_eq!(decode(&[0x12, 0x05, b'a']), Err(Kind::Truncated), "string");
    assert_eq!(decode(&[0x1a, 0x02, 0x08]), Err(Kind::Truncated), "message");
    assert_eq!(
        decode(&[0x1a, 0x02, 0x12, 0x05, b'a', b'b', b'c', b'd', b'e']),
        Err(Kind::Truncated),
        "inner past outer"
    );
    assert_eq!(decode(&[0x22, 0x02, 0x01]), Err(Kind::Truncated), "packed");
    assert_eq!(decode(&[0x22, 0x02, 0x01, 0x80]), Err(Kind::Truncated), "varint cut inside packed");
    assert_eq!(decode(&[0xc2, 0x3e, 0x05, 0x01]), Err(Kind::Truncated), "unknown");
    assert_eq!(
        decode(&[0xc3, 0x3e, 0x12, 0x05, 0x01, 0xc4, 0x3e]),
        Err(Kind::Truncated),
        "unknown group"
    );
    assert_eq!(
        decode(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        Err(Kind::Truncated),
        "2^64 - 1"
    );
    assert_eq!(decode(&[0x6d, 0x00, 0x00]), Err(Kind::Truncated), "fixed32");
    assert_eq!(decode(&[0x08]), Err(Kind::Truncated), "no value");
    assert_eq!(decode(&[0x80]), Err(Kind::Truncated), "half a tag");
    assert_eq!(decode(&[0x52, 0x03, 0x0a, 0x05, b'k']), Err(Kind::Truncated), "map key");
}

#[test]
fn groups_match_or_fail() {
    let group = decode(&[0x3b, 0x08, 0x05, 0x3c]).expect("closed");
    let Value::Message(g) = get(&group, "g") else { panic!("a group is a message") };
    assert_eq!(g.get_by_name("x"), Ok(Value::I32(5)));
    assert_eq!(group.encode().unwrap(), &[0x3b, 0x08, 0x05, 0x3c][..]);
    assert_eq!(decode(&[0x3b, 0x08, 0x05]), Err(Kind::OpenGroup));
    assert_eq!(decode(&[0x3c]), Err(Kind::EndGroup), "nothing is open");
    assert_eq!(decode(&[0x3b, 0x44]), Err(Kind::EndGroup), "another is open");
    assert_eq!(decode(&[0x1a, 0x01, 0x3c]), Err(Kind::EndGroup), "inside a length");
    assert_eq!(
        decode(&[0x3b, 0x12, 0x01, 0x3c, 0x3c]),
        Err(Kind::EndGroup),
        "the inner end is not the outer's"
    );
    assert_eq!(
        decode(&[0xc3, 0x3e, 0xcc, 0x3e]),
        Err(Kind::EndGroup),
        "unknown group closed by another"
    );
    assert_eq!(decode(&[0xc3, 0x3e]), Err(Kind::OpenGroup), "unknown group not closed");
    // an unknown group whose payload ends in a byte that looks like part of a tag
    let unknown = [0xc3, 0x3e, 0x0a, 0x01, 0xff, 0xc4, 0x3e];
    assert_eq!(reencoded(&unknown), unknown);
}

#[test]
fn unknown_fields_keep_their_order_and_bytes() {
    let bytes = [
        0xc0, 0x3e, 0x85, 0x00, 0x08, 0x01, 0xc5, 0x3e, 1, 2, 3, 4, 0xca, 0x3e, 0x01, 0xff, 0x12,
        0x01, b'a',
    ];
    let m = decode(&bytes).expect("valid");
    let unknown: Vec<u8> = m.unknown().flatten().copied().collect();
    assert_eq!(unknown, [0xc0, 0x3e, 0x85, 0x00, 0xc5, 0x3e, 1, 2, 3, 4, 0xca, 0x3e, 0x01, 0xff]);
    assert_eq!(m.unknown().count(), 2, "neighbours are one range");
    let again = m.encode().unwrap();
    assert_eq!(again, [&[0x08, 0x01, 0x12, 0x01, b'a'][..], &unknown].concat());
    // a known number with the wrong wire type is unknown, not an error
    assert_eq!(reencoded(&[0x0d, 1, 2, 3, 4]), [0x0d, 1, 2, 3, 4]);
}

#[test]
fn lists_come_packed_unpacked_or_mixed() {
    let m = decode(&[0x20, 0x01, 0x22, 0x02, 0x02, 0x03, 0x20, 0x04, 0x22, 0x00]).expect("valid");
    assert_eq!(m.list(&ty_field(&m, "r")).unwrap().as_i32s(), Some(&[1, 2, 3, 4][..]));
    assert_eq!(
        m.encode().unwrap(),
        &[0x20, 1, 0x20, 2, 0x20, 3, 0x20, 4][..],
        "proto2 writes them one by one"
    );
}

fn ty_field(m: &Message, name: &str) -> stubless_codec::Field {
    m.message_type().field(name).expect("declared")
}

#[test]
fn scalars_take_the_last_value_and_messages_merge() {
    let m = decode(&[0x08, 1, 0x08, 2, 0x1a, 2, 0x08, 3, 0x1a, 3, 0x12, 1, b'a']).expect("valid");
    assert_eq!(get(&m, "i"), Value::I32(2));
    let Value::Message(inner) = get(&m, "m") else { panic!("a message") };
    assert_eq!(
        (inner.get_by_name("i"), inner.get_by_name("s")),
        (Ok(Value::I32(3)), Ok(Value::Str("a")))
    );
    // inside a oneof too, unless another member came between
    let same = decode(&[0x42, 2, 0x08, 3, 0x42, 3, 0x12, 1, b'a']).expect("valid");
    let Value::Message(om) = get(&same, "om") else { panic!("a message") };
    assert_eq!(
        (om.get_by_name("i"), om.get_by_name("s")),
        (Ok(Value::I32(3)), Ok(Value::Str("a")))
    );
    let other = decode(&[0x42, 2, 0x08, 3, 0x48, 9, 0x42, 3, 0x12, 1, b'a']).expect("valid");
    let Value::Message(om) = get(&other, "om") else { panic!("a message") };
    assert_eq!(om.has_by_name("i"), Ok(false));
    // a member that is zero is set all the same
    let zero = decode(&[0x48, 0]).expect("valid");
    assert_eq!(zero.has_by_name("oi"), Ok(true));
    assert_eq!(zero.encode().unwrap(), &[0x48, 0][..]);
}

#[test]
fn map_entries_may_lack_halves_repeat_and_come_in_any_order() {
    let m = decode(&[0x8a, 0x01, 0x00, 0x8a, 0x01, 0x07, 0x10, 0x05, 0x0a, 0x03, b'k', b'e', b'y'])
        .expect("valid");
    let map = m.map(&ty_field(&m, "ms")).unwrap();
    assert_eq!((map.get(""), map.get("key")), (Some(Value::I32(0)), Some(Value::I32(5))));
    let twice = decode(&[
        0x8a, 0x01, 0x05, 0x0a, 1, b'k', 0x10, 1, 0x8a, 0x01, 0x05, 0x0a, 1, b'k', 0x10, 2,
    ])
    .expect("valid");
    assert_eq!(
        format!("{:?}", twice.map(&ty_field(&twice, "ms")).unwrap()),
        r#"{Str("k"): I32(2)}"#
    );
    // fields of an entry that are neither key nor value go; a value given twice is merged if it is a message
    let odd =
        decode(&[0x5a, 0x0b, 0x12, 2, 0x08, 1, 0x18, 7, 0x12, 3, 0x12, 1, b'a']).expect("valid");
    let Some(Value::Message(v)) = odd.map(&ty_field(&odd, "mm")).unwrap().get(0) else {
        panic!("key 0")
    };
    assert_eq!((v.get_by_name("i"), v.get_by_name("s")), (Ok(Value::I32(1)), Ok(Value::Str("a"))));
    // many equal keys, more than are looked through one by one
    let many: Vec<u8> = (0..2000u32)
        .flat_map(|i| [0x8a, 0x01, 0x05, 0x0a, 1, b'a' + (i % 20) as u8, 0x10, (i % 100) as u8])
        .collect();
    let m = decode(&many).expect("valid");
    let map = m.map(&ty_field(&m, "ms")).unwrap();
    assert_eq!((map.len(), map.get("t")), (20, Some(Value::I32(99))));
}

#[test]
fn closed_enums_keep_foreign_numbers_as_unknown_fields() {
    let m = decode(&[0x28, 0x09]).expect("valid");
    assert_eq!((get(&m, "e"), m.has_by_name("e")), (Value::Enum(1), Ok(false)));
    assert_eq!(reencoded(&[0x28, 0x09]), [0x28, 0x09]);
    assert_eq!(reencoded(&[0x30, 1, 0x30, 9, 0x30, 2]), [0x30, 1, 0x30, 2, 0x30, 9]);
    assert_eq!(reencoded(&[0x7a, 3, 1, 9, 2]), [0x7a, 2, 1, 2, 0x78, 9], "out of a packed list");
    let entry = [0x52, 0x05, 0x0a, 1, b'k', 0x10, 9];
    assert_eq!(reencoded(&entry), entry, "the whole entry");
    assert!(get(&decode(&entry).unwrap(), "me").is_zero());
    let bare = decode(&[0x52, 0x03, 0x0a, 1, b'k']).expect("valid");
    assert_eq!(
        bare.map(&ty_field(&bare, "me")).unwrap().get("k"),
        Some(Value::Enum(1)),
        "no value: the first declared"
    );
    assert_eq!(reencoded(&[0xb0, 0x06, 9]), [0xb0, 0x06, 9], "an extension");
    assert_eq!(decode(&[0xb0, 0x06, 9]).unwrap().has_by_name("[p.x1]"), Ok(false));
    let mut m = ty("p.M").new_message();
    assert!(m.set_by_name("e", 9).is_err());
    m.set_by_name("e", "B").unwrap();
    assert_eq!(get(&m, "e"), Value::Enum(2));
}

#[test]
fn utf8_is_a_matter_of_the_file() {
    let proto2 = decode(&[0x12, 0x01, 0xff]).expect("proto2 does not look");
    assert_eq!(get(&proto2, "s"), Value::Bytes(&[0xff]));
    assert!(proto2.str(&ty_field(&proto2, "s")).is_err());
    let q = ty("q.M");
    for (what, bytes) in [
        ("field", &[0x0a, 1, 0xff][..]),
        ("element", &[0x12, 1, 0xff]),
        ("key", &[0x1a, 3, 0x0a, 1, 0xff]),
        ("value", &[0x1a, 3, 0x12, 1, 0xff]),
        ("oneof", &[0x22, 1, 0xff]),
        ("surrogate", &[0x0a, 3, 0xed, 0xa0, 0x80]),
    ] {
        assert_eq!(q.decode(bytes.to_vec()).map_err(|e| e.kind()), Err(Kind::Utf8), "{what}");
    }
    let mut long = vec![b'a'; 200];
    long[150] = 0xff;
    let mut bytes = vec![0x0a, 0xc8, 0x01];
    bytes.extend(&long);
    assert!(q.decode(bytes).is_err(), "past where short strings are looked at");
    let text = "żółw и 漢字".repeat(20);
    let mut m = q.new_message();
    m.set_by_name("s", text.as_str()).unwrap();
    assert_eq!(q.decode(m.encode().unwrap()).unwrap().get_by_name("s"), Ok(Value::Str(&text)));
}

#[test]
fn floats_keep_every_bit_and_minus_zero_is_not_unset() {
    let nan = [0x6d, 0x01, 0x00, 0x80, 0xff];
    assert_eq!(reencoded(&nan), nan);
    let q = ty("q.M");
    let mut m = q.new_message();
    m.set_by_name("d", -0.0).unwrap();
    assert_eq!(m.encode().unwrap(), &[0x29, 0, 0, 0, 0, 0, 0, 0, 0x80][..]);
    m.set_by_name("d", 0.0).unwrap();
    assert!(m.encode().unwrap().is_empty());
    assert_eq!(
        q.decode(&[0x30, 0x00][..]).unwrap().encode().unwrap(),
        &[][..],
        "zero without presence is not written"
    );
}

#[test]
fn a_hundred_levels_pass_and_one_more_does_not() {
    let nested = |levels: usize| {
        (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut out = vec![0x1a];
            let mut len = inner.len();
            while len >= 0x80 {
                out.push(len as u8 | 0x80);
                len >>= 7;
            }
            out.push(len as u8);
            out.extend(inner);
            out
        })
    };
    assert!(decode(&nested(100)).is_ok());
    assert_eq!(decode(&nested(101)), Err(Kind::TooDeep));
    assert_eq!(decode(&nested(20_000)), Err(Kind::TooDeep));
    let groups =
        |levels: usize| [[0xc3, 0x3e].repeat(levels), [0xc4, 0x3e].repeat(levels)].concat();
    assert!(decode(&groups(100)).is_ok());
    assert_eq!(decode(&groups(101)), Err(Kind::TooDeep), "unknown groups count");
    assert_eq!(
        decode(&[0xc3, 0x3e].repeat(100_000)),
        Err(Kind::TooDeep),
        "groups that never close"
    );
    let deep = Message::decode_with(&ty("p.M"), nested(5), &Limits::default().with_max_depth(4))
        .unwrap_err();
    assert_eq!((deep.kind(), deep.path().as_str()), (Kind::TooDeep, "m.m.m.m.m"));
}

#[test]
fn memory_is_limited_whatever_the_bytes_become() {
    let limits = Limits::default().with_max_memory_bytes(64 << 10);
    let refused =
        |bytes: Vec<u8>| Message::decode_with(&ty("p.M"), bytes, &limits).map_err(|e| e.kind());
    assert!(refused(vec![0x08, 0x01]).is_ok());
    // an unknown field between two known ones is a record of its own
    assert_eq!(refused([0xc0, 0x3e, 0x00, 0x08, 0x01].repeat(5000)), Err(Kind::Memory));
    // five bytes become a map entry that holds a message
    assert_eq!(refused([0x5a, 0x02, 0x12, 0x00].repeat(3000)), Err(Kind::Memory));
    assert_eq!(
        refused([vec![0x22, 0xd0, 0x86, 0x03], vec![1; 50_000]].concat()),
        Err(Kind::Memory)
    );
    let fits = Message::decode_with(&ty("p.M"), [0x20, 0x01].repeat(2000), &limits)
        .expect("8 KB of numbers");
    assert!(fits.memory_bytes() <= 64 << 10);
}

#[test]
fn errors_say_which_field_and_which_byte() {
    let e = Message::decode_slice(&ty("p.M"), &[0x08, 1, 0x1a, 4, 0x1a, 2, 0x12, 5]).unwrap_err();
    assert_eq!(e.to_string(), "p.M.m.m.s: the input ends inside a value (at byte 8)");
}

#[test]
fn required_fields_are_looked_for_before_anything_is_written() {
    let ty = ty("p.Req");
    let missing = |bytes: &[u8]| match ty.decode(bytes.to_vec()).unwrap().encode() {
        Err(EncodeError::Required { field }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&[]), "p.Req.a");
    assert_eq!(missing(&[0x08, 1, 0x12, 2, 0x08, 1, 0x12, 0]), "p.Req.kids.a");
    assert_eq!(missing(&[0x08, 1, 0x1a, 2, 0x12, 0]), "p.Req.map.a");
    assert!(ty.decode(&[0x08, 0][..]).unwrap().encode().is_ok());
    assert!(
        ty.new_message().encode_with(stubless_codec::EncodeOptions::partial()).unwrap().is_empty()
    );
}

#[test]
fn message_sets_take_both_encodings() {
    let ty = ty("p.Set");
    let item = [0x0b, 0x10, 0xf9, 0xbb, 0x5e, 0x1a, 3, 0x0a, 1, b'a', 0x0c];
    let m = ty.decode(item.to_vec()).unwrap();
    let Ok(Value::Message(found)) = m.get_by_name("[p.Item.item]") else {
        panic!("the item is there")
    };
    assert_eq!(found.get_by_name("s"), Ok(Value::Str("a")));
    assert_eq!(m.encode().unwrap(), &item[..]);
    let reversed = [0x0b, 0x1a, 3, 0x0a, 1, b'a', 0x10, 0xf9, 0xbb, 0x5e, 0x0c];
    assert_eq!(ty.decode(reversed.to_vec()).unwrap(), m);
    let unknown = [0x0b, 0x10, 0x07, 0x1a, 1, 0xff, 0x0c];
    assert_eq!(ty.decode(unknown.to_vec()).unwrap().encode().unwrap(), &unknown[..]);
}

#[test]
fn extensions_read_write_and_travel() {
    let schema = Schema::from_source([("p.proto", SOURCE)]).unwrap();
    let ty = schema.message("p.M").unwrap();
    let (xm, xe) =
        (schema.extension("p.xm").unwrap(), schema.extension_by_number("p.M", 101).unwrap());
    let mut m = ty.new_message();
    m.mutable(&xm).unwrap().set_by_name("i", 4).unwrap();
    m.list_mut(&xe).unwrap().push("B").unwrap();
    m.set_by_name("s", "own").unwrap();
    let bytes = m.encode().unwrap();
    assert_eq!(bytes, &[0x12, 3, b'o', b'w', b'n', 0xa2, 0x06, 2, 0x08, 4, 0xa8, 0x06, 2][..]);
    let back = ty.decode(bytes).unwrap();
    assert_eq!((&back, &back.clone()), (&m, &m));
    let names: Vec<_> = back.fields().map(|(f, _)| f.full_name().to_owned()).collect();
    assert_eq!(names, ["p.M.s", "p.xm", "p.xe"]);
    m.clear(&xm);
    assert!(!m.has(&xm));
    assert_eq!(ty.find_field("[p.xm]"), Some(xm));
}

#[test]
fn defaults_of_proto2_read_while_unset() {
    let m = ty("p.M").new_message();
    assert_eq!(get(&m, "def"), Value::Str("x\ty"));
    assert_eq!(get(&m, "raw"), Value::Bytes(&[1, 255]));
    assert_eq!(get(&m, "ed"), Value::Enum(2));
    assert_eq!(get(&m, "inf"), Value::F64(f64::NEG_INFINITY));
    assert_eq!(m.str(&ty_field(&m, "def")), Ok("x\ty"));
    assert_eq!(m.f64(&ty_field(&m, "inf")), Ok(f64::NEG_INFINITY));
}

#[test]
fn frames_have_their_prefix_in_place() {
    let m = decode(&[0x08, 0x05]).unwrap();
    assert_eq!(m.encode_frame().unwrap(), &[0, 0, 0, 0, 2, 0x08, 0x05][..]);
    assert_eq!(ty("p.M").new_message().encode_frame().unwrap(), &[0; 5][..]);
}

#[test]
fn a_large_message_leaves_the_writer_whole() {
    let q = ty("q.M");
    let mut m = q.new_message();
    let text = "x".repeat(100_000);
    for _ in 0..3 {
        m.list_mut(&q.field("rs").unwrap()).unwrap().push(text.as_str()).unwrap();
    }
    let (first, second) = (m.encode().unwrap(), m.encode_frame().unwrap());
    assert_eq!((first.len(), second.len()), (300_012, 300_017));
    assert_eq!(first, second.slice(5..));
    assert_eq!(q.decode(first.clone()).unwrap(), m);
    let shared = q.decode(first.clone()).unwrap();
    let Some(Value::Str(s)) = shared.list(&q.field("rs").unwrap()).unwrap().get(0) else {
        panic!("three strings")
    };
    assert!(first.as_ptr_range().contains(&s.as_ptr()), "large input is not copied");
}

#[test]
fn broken_proto_text_names_file_line_and_column() {
    let e = Schema::from_source([(
        "bad.proto",
        "syntax = \"proto3\";\nmessage M {\n  strin s = 1;\n}\n",
    )])
    .unwrap_err();
    assert!(
        matches!(&e, SchemaError::Source { file, line: 3, column: 3, .. } if file == "bad.proto"),
        "{e:?}"
    );
    let e =
        Schema::from_source([("bad.proto", "syntax = \"proto3\";\nmessage {\n}\n")]).unwrap_err();
    assert!(matches!(&e, SchemaError::Source { line: 2, column: 9, .. }), "{e:?}");
    let e = Schema::from_source([("a.proto", "syntax = \"proto3\";\nimport \"b.proto\";\n")])
        .unwrap_err();
    assert!(e.to_string().contains("b.proto"), "{e}");
    let e = Schema::from_source([("e.proto", "edition = \"2023\";\nmessage M {}\n")]).unwrap_err();
    assert!(matches!(&e, SchemaError::Source { line: 1, .. }), "{e:?}");
    let e = Schema::load(["nowhere.proto"], ["/nonexistent"]).unwrap_err();
    assert!(e.to_string().contains("nowhere.proto"), "{e}");
}
