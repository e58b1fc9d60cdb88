//! Random messages against prost-reflect: what one writes the other reads, and both agree on what is broken.

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use stubless_codec::{Message, MessageType, Schema};

const PROTO2: &str = r#"
syntax = "proto2";
package two;
enum Closed { ZERO = 0; ONE = 1; MINUS = -1; }
message M {
  optional int32 i32 = 1; optional int64 i64 = 2; optional uint32 u32 = 3; optional uint64 u64 = 4;
  optional sint32 s32 = 5; optional sint64 s64 = 6; optional fixed32 f32 = 7; optional fixed64 f64 = 8;
  optional sfixed32 sf32 = 9; optional sfixed64 sf64 = 10; optional float fl = 11; optional double db = 12;
  optional bool b = 13; optional string s = 14; optional bytes by = 15; optional Closed e = 16; optional M m = 17;
  repeated int32 ri32 = 31; repeated sint64 rs64 = 36 [packed = true]; repeated fixed32 rf32 = 37 [packed = true];
  repeated string rs = 44; repeated bytes rb = 45; repeated Closed re = 46 [packed = true]; repeated M rm = 47;
  repeated Closed re2 = 48; repeated bool rbool = 49 [packed = true];
  optional group G = 50 { optional int32 x = 1; optional M m = 2; }
  repeated group H = 51 { optional string y = 1; }
  oneof o { int32 oi = 60; string os = 61; M om = 62; Closed oe = 63; }
  map<int32, string> mis = 70; map<string, M> msm = 71; map<bool, Closed> mbe = 72;
  extensions 100 to 200;
}
extend M { optional int32 xi = 100; repeated string xs = 101; optional M xm = 102; repeated int32 xp = 103 [packed = true]; }
"#;

const PROTO3: &str = r#"
syntax = "proto3";
package three;
enum Open { ZERO = 0; ONE = 1; MINUS = -1; }
message M {
  int32 i32 = 1; int64 i64 = 2; uint32 u32 = 3; uint64 u64 = 4; sint32 s32 = 5; sint64 s64 = 6; fixed32 f32 = 7;
  fixed64 f64 = 8; sfixed32 sf32 = 9; sfixed64 sf64 = 10; float fl = 11; double db = 12; bool b = 13; string s = 14;
  bytes by = 15; Open e = 16; M m = 17; optional int32 opt = 18; optional string opts = 19;
  repeated int32 ri32 = 31; repeated int64 ri64 = 32; repeated sint32 rs32 = 33; repeated double rd = 34;
  repeated uint64 ru64 = 35; repeated float rf = 36; repeated bool rb = 37; repeated string rs = 44; repeated Open re = 46;
  repeated M rm = 47; repeated int32 unp = 48 [packed = false];
  oneof o { int32 oi = 60; string os = 61; M om = 62; Open oe = 63; bool ob = 64; }
  map<int32, string> mis = 70; map<string, M> msm = 71; map<sint64, Open> mse = 72; map<fixed32, double> mfd = 73;
}
"#;

/// xorshift: the same messages on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number of random magnitude.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        let n = self.next() >> shift;
        if self.below(8) == 0 { n.wrapping_neg() } else { n }
    }
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Random fields of `ty`: mostly well-formed, in any order, often repeated, sometimes with a number nobody knows.
fn random_fields(ty: &MessageType, r: &mut Random, depth: u32, out: &mut Vec<u8>) {
    let fields: Vec<_> = ty.fields().chain(ty.extensions()).collect();
    for _ in 0..r.below(9) {
        // only in the root: the test that compares drops them there
        if depth == 3 && r.below(20) == 0 {
            varint(out, (900 + r.below(3)) << 3);
            let n = r.number();
            varint(out, n);
            continue;
        }
        let field = &fields[r.below(fields.len() as u64) as usize];
        let number = u64::from(field.number());
        use stubless_codec::Kind::*;
        let wire = match field.kind() {
            Double | Fixed64 | SFixed64 => 1,
            Float | Fixed32 | SFixed32 => 5,
            String | Bytes | Message => 2,
            Group => 3,
            _ => 0,
        };
        let one = |r: &mut Random, out: &mut Vec<u8>| match field.kind() {
            Double | Fixed64 | SFixed64 => {
                // no NaN: it is not equal to itself
                let n = if field.kind() == Double {
                    (r.next() as i32 as f64 / 8.0).to_bits()
                } else {
                    r.next()
                };
                out.extend(n.to_le_bytes());
            }
            Float | Fixed32 | SFixed32 => {
                let n = if field.kind() == Float {
                    (r.next() as i16 as f32 / 8.0).to_bits()
                } else {
                    r.next() as u32
                };
                out.extend(n.to_le_bytes());
            }
            String => {
                let len = r.below(80);
                let text: std::string::String =
                    (0..len)
                        .map(|_| {
                            if r.below(30) == 0 { 'é' } else { (b'a' + r.below(26) as u8) as char }
                        })
                        .collect();
                varint(out, text.len() as u64);
                out.extend(text.as_bytes());
            }
            Bytes => {
                let len = r.below(20);
                varint(out, len);
                out.extend((0..len).map(|_| r.next() as u8));
            }
            Enum => varint(out, [0, 1, u64::MAX, 7][r.below(4) as usize]),
            Bool => varint(out, r.below(2)),
            _ => {
                let n = r.number();
                varint(out, n);
            }
        };
        match wire {
            2 if matches!(field.kind(), Message) => {
                let mut body = Vec::new();
                if depth > 0 {
                    random_fields(
                        &field.message_type().expect("a message"),
                        r,
                        depth - 1,
                        &mut body,
                    );
                }
                varint(out, number << 3 | 2);
                varint(out, body.len() as u64);
                out.extend(body);
            }
            3 => {
                varint(out, number << 3 | 3);
                if depth > 0 {
                    random_fields(&field.message_type().expect("a group"), r, depth - 1, out);
                }
                varint(out, number << 3 | 4);
            }
            2 => {
                varint(out, number << 3 | 2);
                one(r, out);
            }
            wire if field.is_list() && r.below(2) == 0 => {
                let _ = wire;
                let mut body = Vec::new();
                for _ in 0..r.below(6) {
                    one(r, &mut body);
                }
                varint(out, number << 3 | 2);
                varint(out, body.len() as u64);
                out.extend(body);
            }
            wire => {
                varint(out, number << 3 | wire);
                one(r, out);
            }
        }
    }
}

fn both(source: &str, name: &str) -> (MessageType, prost_reflect::MessageDescriptor) {
    let schema = Schema::from_source([("x.proto", source)]).expect("compiles");
    let pool = DescriptorPool::decode(&schema.to_descriptor_set()[..]).expect("decodes");
    (schema.message(name).expect("declared"), pool.get_message_by_name(name).expect("declared"))
}

/// prost-reflect reads closed enums as open ones; the few places where that shows are left to our own unit tests.
fn same_for_both(source: &str, name: &str, seed: u64) {
    let (ty, desc) = both(source, name);
    let mut r = Random(seed);
    for round in 0..3000 {
        let mut bytes = Vec::new();
        random_fields(&ty, &mut r, 3, &mut bytes);
        let theirs = DynamicMessage::decode(desc.clone(), &bytes[..])
            .expect("the generator writes valid messages");
        let ours = Message::decode_slice(&ty, &bytes)
            .unwrap_or_else(|e| panic!("round {round}: {e}: {bytes:02x?}"));
        let encoded = ours.encode().expect("nothing is required");
        let again =
            DynamicMessage::decode(desc.clone(), &encoded[..]).expect("they read what we write");
        let back = ty.decode(encoded.clone()).expect("we read what we write");
        assert_eq!(back, ours, "round {round}");
        assert_eq!(back.encode().as_ref(), Ok(&encoded));
        let copy = ours.clone();
        assert_eq!(copy, ours);
        assert_eq!(copy.encode().as_ref(), Ok(&encoded));
        let through_them = ty.decode(theirs.encode_to_vec()).expect("we read what they write");
        let there_and_back = ty.decode(again.encode_to_vec()).expect("we read what they write");
        if name == "three.M" {
            let sorted = stubless_codec::EncodeOptions::deterministic();
            let known = |m: &Message| {
                let mut m = m.clone();
                drop_unknown(&mut m);
                m.encode_with(sorted).expect("nothing is required")
            };
            assert_eq!(known(&through_them), known(&ours), "round {round}");
            assert_eq!(known(&there_and_back), known(&ours), "round {round}");
        }
    }
}

/// They keep unknown fields in another order than we do.
fn drop_unknown(m: &mut Message) {
    m.clear_unknown();
}

#[test]
fn proto3_messages_mean_the_same_to_prost_reflect() {
    same_for_both(PROTO3, "three.M", 0x5eed);
}

#[test]
fn proto2_messages_survive_prost_reflect() {
    same_for_both(PROTO2, "two.M", 0xfeed);
}

#[test]
fn broken_bytes_are_refused_by_both_or_by_neither_and_never_panic() {
    for (source, name) in [(PROTO2, "two.M"), (PROTO3, "three.M")] {
        let (ty, desc) = both(source, name);
        let mut r = Random(77);
        let (mut refused, mut taken) = (0, 0);
        for _ in 0..400 {
            let mut bytes = Vec::new();
            random_fields(&ty, &mut r, 3, &mut bytes);
            for end in 0..bytes.len() {
                agree(&ty, &desc, &bytes[..end], &mut refused, &mut taken);
            }
            for _ in 0..50 {
                if bytes.is_empty() {
                    break;
                }
                let mut broken = bytes.clone();
                for _ in 0..=r.below(3) {
                    let at = r.below(broken.len() as u64) as usize;
                    broken[at] = r.next() as u8;
                }
                agree(&ty, &desc, &broken, &mut refused, &mut taken);
            }
        }
        assert!(refused > 10_000 && taken > 1000, "{refused} refused, {taken} taken");
    }
}

fn agree(
    ty: &MessageType,
    desc: &prost_reflect::MessageDescriptor,
    bytes: &[u8],
    refused: &mut u32,
    taken: &mut u32,
) {
    let ours = Message::decode_slice(ty, bytes);
    let theirs = DynamicMessage::decode(desc.clone(), bytes);
    match (&ours, &theirs) {
        (Ok(m), _) => {
            *taken += 1;
            let encoded = m.encode().expect("what was decoded can be encoded");
            assert_eq!(ty.decode(encoded).as_ref().map(Message::encode), Ok(m.encode()));
        }
        (Err(_), _) => *refused += 1,
    }
    if ours.is_ok() != theirs.is_ok() && !known_difference(&ours, &theirs) {
        let theirs = theirs.as_ref().map(|m| m.to_string());
        panic!("ours {ours:?}, theirs {theirs:?}: {bytes:02x?}");
    }
}

/// Where prost-reflect is laxer or stricter than protobuf's own parsers.
fn known_difference(
    ours: &Result<Message, stubless_codec::DecodeError>,
    theirs: &Result<DynamicMessage, prost_reflect::prost::DecodeError>,
) -> bool {
    use stubless_codec::DecodeErrorKind as K;
    match (ours, theirs) {
        // over-long tags, end groups inside length-delimited fields, wire types that do not fit
        (Err(e), Ok(_)) => matches!(e.kind(), K::VarintTooLong | K::FieldNumber | K::EndGroup),
        // a known number with another wire type is an unknown field; proto2 strings need not be UTF-8
        (Ok(m), Err(e)) => {
            let text = e.to_string();
            text.contains("invalid wire type")
                || text.contains("UTF-8")
                || text.contains("varint")
                || format!("{m:?}").contains("unknown bytes")
        }
        _ => false,
    }
}
