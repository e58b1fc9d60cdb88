//! Decode and encode of an order of about 30 fields and 1 KB: ours beside prost's generated code.
//!
//! `cargo run --release -p stubless-codec-bench`. Thread CPU time, rounds of both sides taken in turn, medians; only the
//! ratios of one run mean anything. prost's structs are written as prost-build would write them.

use std::collections::HashMap;
use std::hint::black_box;

use bytes::Bytes;
use prost::Message as _;
use stubless_codec::wire::Writer;
use stubless_codec::{EncodeOptions, Message, Schema, Value};

const ORDER: &str = r#"
syntax = "proto3";
package bench;
enum State { UNKNOWN = 0; PAID = 1; SHIPPED = 2; }
message Address { string street = 1; string city = 2; string zip = 3; string country = 4; double lat = 5; double lon = 6; }
message Item { string sku = 1; string title = 2; int32 quantity = 3; int64 cents = 4; repeated string tags = 5; bool gift = 6; }
message Order {
  string id = 1; string customer = 2; int64 created = 3; int64 updated = 4; State state = 5; bool paid = 6; bool gift = 7;
  int32 version = 8; uint32 flags = 9; uint64 total = 10; double discount = 11; float tax = 12; sint32 delta = 13;
  fixed64 trace = 14; bytes signature = 15; Address billing = 16; Address shipping = 17; repeated Item items = 18;
  repeated int32 codes = 19; repeated string notes = 20; map<string, string> labels = 21;
  oneof payment { string card = 22; string iban = 23; bytes token = 24; }
  string currency = 25; string channel = 26; optional string coupon = 27; optional int32 priority = 28;
  string region = 29; string warehouse = 30; sfixed32 shard = 31;
}
message One { string text = 1; }
message Packed { repeated int32 n = 1; }
message Strings { repeated string s = 1; }
message Chain { Chain next = 1; string name = 2; int32 n = 3; }
message Blob { bytes data = 1; }
message Entries { map<string, Address> map = 1; }
"#;

#[derive(Clone, PartialEq, prost::Message)]
struct Address {
    #[prost(string, tag = "1")]
    street: String,
    #[prost(string, tag = "2")]
    city: String,
    #[prost(string, tag = "3")]
    zip: String,
    #[prost(string, tag = "4")]
    country: String,
    #[prost(double, tag = "5")]
    lat: f64,
    #[prost(double, tag = "6")]
    lon: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    sku: String,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(int32, tag = "3")]
    quantity: i32,
    #[prost(int64, tag = "4")]
    cents: i64,
    #[prost(string, repeated, tag = "5")]
    tags: Vec<String>,
    #[prost(bool, tag = "6")]
    gift: bool,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payment {
    #[prost(string, tag = "22")]
    Card(String),
    #[prost(string, tag = "23")]
    Iban(String),
    #[prost(bytes, tag = "24")]
    Token(Vec<u8>),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    customer: String,
    #[prost(int64, tag = "3")]
    created: i64,
    #[prost(int64, tag = "4")]
    updated: i64,
    #[prost(int32, tag = "5")]
    state: i32,
    #[prost(bool, tag = "6")]
    paid: bool,
    #[prost(bool, tag = "7")]
    gift: bool,
    #[prost(int32, tag = "8")]
    version: i32,
    #[prost(uint32, tag = "9")]
    flags: u32,
    #[prost(uint64, tag = "10")]
    total: u64,
    #[prost(double, tag = "11")]
    discount: f64,
    #[prost(float, tag = "12")]
    tax: f32,
    #[prost(sint32, tag = "13")]
    delta: i32,
    #[prost(fixed64, tag = "14")]
    trace: u64,
    #[prost(bytes = "vec", tag = "15")]
    signature: Vec<u8>,
    #[prost(message, optional, tag = "16")]
    billing: Option<Address>,
    #[prost(message, optional, tag = "17")]
    shipping: Option<Address>,
    #[prost(message, repeated, tag = "18")]
    items: Vec<Item>,
    #[prost(int32, repeated, tag = "19")]
    codes: Vec<i32>,
    #[prost(string, repeated, tag = "20")]
    notes: Vec<String>,
    #[prost(map = "string, string", tag = "21")]
    labels: HashMap<String, String>,
    #[prost(oneof = "Payment", tags = "22, 23, 24")]
    payment: Option<Payment>,
    #[prost(string, tag = "25")]
    currency: String,
    #[prost(string, tag = "26")]
    channel: String,
    #[prost(string, optional, tag = "27")]
    coupon: Option<String>,
    #[prost(int32, optional, tag = "28")]
    priority: Option<i32>,
    #[prost(string, tag = "29")]
    region: String,
    #[prost(string, tag = "30")]
    warehouse: String,
    #[prost(sfixed32, tag = "31")]
    shard: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct One {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Packed {
    #[prost(int32, repeated, tag = "1")]
    n: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Strings {
    #[prost(string, repeated, tag = "1")]
    s: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chain {
    #[prost(message, optional, boxed, tag = "1")]
    next: Option<Box<Chain>>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int32, tag = "3")]
    n: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Blob {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entries {
    #[prost(map = "string, message", tag = "1")]
    map: HashMap<String, Address>,
}

fn address(i: u32) -> Address {
    Address {
        street: format!("{i} Long Acre Avenue, back entrance"),
        city: "Springfield".into(),
        zip: format!("{:05}", 10_000 + i),
        country: "CH".into(),
        lat: 47.37 + f64::from(i),
        lon: 8.54,
    }
}

fn order() -> Order {
    Order {
        id: "ord-2f9c1b7e-5a54-4f0e".into(),
        customer: "customer-000123456".into(),
        created: 1_763_640_000_123,
        updated: 1_763_640_900_456,
        state: 2,
        paid: true,
        gift: true,
        version: 7,
        flags: 0x1_0203,
        total: 129_900,
        discount: 0.125,
        tax: 7.7,
        delta: -40,
        trace: 0x0123_4567_89ab_cdef,
        signature: (0..32).collect(),
        billing: Some(address(1)),
        shipping: Some(address(2)),
        items: (0..4)
            .map(|i| Item {
                sku: format!("SKU-{i:08}"),
                title: format!("A thing worth having, number {i}"),
                quantity: i + 1,
                cents: 1999 * i64::from(i + 1),
                tags: vec!["new".into(), "blue".into()],
                gift: i % 2 == 0,
            })
            .collect(),
        codes: (0..20).map(|i| i * 37).collect(),
        notes: vec!["leave at the door".into(), "ring twice".into()],
        labels: (0..4).map(|i| (format!("label-{i}"), format!("value of {i}"))).collect(),
        payment: Some(Payment::Card("4111-xxxx-xxxx-1111".into())),
        currency: "CHF".into(),
        channel: "web".into(),
        coupon: Some("WINTER25".into()),
        priority: Some(3),
        region: "eu-central".into(),
        warehouse: "ZRH-2".into(),
        shard: -12,
    }
}

fn cpu_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place for the result.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Median ns a call of each closure, taken in turn.
fn compare(bytes: usize, sides: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let per_round = (400_000 / (bytes + 50)).clamp(5, 2000);
    let mut times = vec![Vec::new(); sides.len()];
    for round in 0..61 {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let start = cpu_ns();
            for _ in 0..per_round {
                side();
            }
            if round > 0 {
                times.push((cpu_ns() - start) as f64 / per_round as f64);
            }
        }
    }
    times
        .into_iter()
        .map(|mut t| {
            t.sort_by(f64::total_cmp);
            t[t.len() / 2]
        })
        .collect()
}

fn shape<P: prost::Message + Default + PartialEq>(schema: &Schema, name: &str, theirs: P) {
    let ty = schema.message(&format!("bench.{name}")).expect("declared");
    let bytes = Bytes::from(theirs.encode_to_vec());
    let ours = ty.decode(bytes.clone()).expect("decodes");
    assert!(P::decode(ours.encode().expect("encodes")).expect("prost reads it") == theirs);
    let mut writer = Writer::new();
    let mut buffer = Vec::new();
    let d = compare(
        bytes.len(),
        &mut [
            &mut || drop(black_box(P::decode(black_box(bytes.clone())).expect("decodes"))),
            &mut || {
                drop(black_box(Message::decode(&ty, black_box(bytes.clone())).expect("decodes")))
            },
            &mut || {
                drop(black_box(Message::decode_slice(&ty, black_box(&bytes)).expect("decodes")))
            },
        ],
    );
    let e = compare(
        bytes.len(),
        &mut [
            &mut || drop(black_box(theirs.encode_to_vec())),
            &mut || drop(black_box(ours.encode().expect("encodes"))),
            &mut || {
                buffer.clear();
                theirs.encode(&mut buffer).expect("there is room");
                black_box(&buffer);
            },
            &mut || {
                writer.clear();
                ours.as_ref().encode_into(&mut writer, EncodeOptions::default()).expect("encodes");
                black_box(writer.as_slice());
            },
        ],
    );
    println!(
        "{name:8} {:8} B | decode prost {:9.0} ns, ours {:.2}, ours from a slice {:.2} | encode prost {:9.0} ns, ours {:.2} | into a kept buffer prost {:9.0} ns, ours {:.2}",
        bytes.len(),
        d[0],
        d[1] / d[0],
        d[2] / d[0],
        e[0],
        e[1] / e[0],
        e[2],
        e[3] / e[2],
    );
}

fn reading(schema: &Schema) {
    let ty = schema.message("bench.Order").expect("declared");
    let m = ty.decode(order().encode_to_vec()).expect("decodes");
    let (id, total, billing) =
        (ty.field("id").unwrap(), ty.field("total").unwrap(), ty.field("billing").unwrap());
    let t = compare(
        1000,
        &mut [
            &mut || _ = black_box(m.u64(black_box(&total))),
            &mut || _ = black_box(m.str(black_box(&id))),
            &mut || _ = black_box(m.message(black_box(&billing))),
            &mut || _ = black_box(m.get(black_box(&total))),
            &mut || _ = black_box(matches!(m.get_by_name(black_box("total")), Ok(Value::U64(_)))),
        ],
    );
    println!(
        "reading, ns: u64 by handle {:.1}, str {:.1}, message {:.1}, get {:.1}, get by name {:.1}",
        t[0], t[1], t[2], t[3], t[4]
    );
}

/// `decode`, `encode` or `small`, over and over, for a profiler to look at.
fn profile(schema: &Schema, what: &str) {
    let (ty, one) = (
        schema.message("bench.Order").expect("declared"),
        schema.message("bench.One").expect("declared"),
    );
    let bytes = Bytes::from(order().encode_to_vec());
    let m = ty.decode(bytes.clone()).expect("decodes");
    let mut writer = Writer::new();
    for _ in 0..3_000_000 {
        match what {
            "decode" => drop(black_box(ty.decode(black_box(bytes.clone())))),
            "encode" => {
                writer.clear();
                m.as_ref().encode_into(&mut writer, EncodeOptions::default()).expect("encodes");
                black_box(writer.as_slice());
            }
            _ => drop(black_box(Message::decode_slice(&one, black_box(b"\x0a\x0chello, world")))),
        }
    }
}

fn main() {
    let schema = Schema::from_source([("order.proto", ORDER)]).expect("compiles");
    if let Some(what) = std::env::args().nth(1) {
        return profile(&schema, &what);
    }
    shape(&schema, "One", One { text: "hello, world".into() });
    shape(&schema, "Order", order());
    shape(&schema, "Packed", Packed { n: (0..10_000).map(|i| i * 7919 % 1_000_000).collect() });
    shape(&schema, "Blob", Blob { data: vec![7; 1 << 20] });
    let chain =
        (0..60).fold(None, |next, n| Some(Box::new(Chain { next, name: "link".into(), n })));
    shape(&schema, "Chain", *chain.expect("sixty links"));
    shape(
        &schema,
        "Entries",
        Entries { map: (0..200).map(|i| (format!("key-{i}"), address(i))).collect() },
    );
    shape(
        &schema,
        "Strings",
        Strings { s: (0..500).map(|i| format!("a string with number {i}")).collect() },
    );
    reading(&schema);
}
