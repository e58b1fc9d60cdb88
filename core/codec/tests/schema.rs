//! What makes a schema: languages, order, merging, look-ups for reflection, and everything that has to be refused.

use bytes::Bytes;
use stubless_codec::wire::Writer;
use stubless_codec::{
    DecodeErrorKind, Message, MessageType, Schema, SchemaBuilder, SchemaError, Syntax, Value,
};

/// protoc 36.2's output for the two `.proto` files beside it.
const EDITIONS: &[u8] = include_bytes!("fixtures/editions.binpb");

/// Descriptors by hand; fields last to first.
#[derive(Default)]
struct D(Writer);

impl D {
    fn new() -> D {
        D::default()
    }
    fn text(mut self, number: u32, value: &str) -> D {
        self.0.push_bytes(value.as_bytes());
        self.0.push_tag(number << 3 | 2);
        self
    }
    fn part(mut self, number: u32, value: D) -> D {
        self.0.push_bytes(value.0.as_slice());
        self.0.push_tag(number << 3 | 2);
        self
    }
    fn int(mut self, number: u32, value: u64) -> D {
        self.0.push_varint(value);
        self.0.push_tag(number << 3);
        self
    }
    fn field(self, name: &str, number: u64, kind: u64, type_name: &str) -> D {
        let f = D::new().text(1, name).int(3, number).int(4, 1).int(5, kind);
        self.part(2, if type_name.is_empty() { f } else { f.text(6, type_name) })
    }
    fn file(self, name: &str) -> Bytes {
        let mut d = self.text(1, name);
        d.0.take()
    }
}

fn message(name: &str) -> D {
    D::new().text(1, name)
}

fn invalid(file: D) -> String {
    match Schema::from_files([file.file("f.proto")]) {
        Err(e @ (SchemaError::Invalid { .. } | SchemaError::Malformed { .. })) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn editions_features_are_resolved_field_by_field() {
    let schema = Schema::from_descriptor_set(EDITIONS).unwrap();
    assert_eq!(schema.file_syntax("editions2023.proto"), Some(Syntax::Edition(1000)));
    assert_eq!(schema.file_syntax("editions2024.proto"), Some(Syntax::Edition(1001)));
    let plain = schema.message("ed.Plain").unwrap();
    let f = |name: &str| plain.field(name).unwrap();
    assert!(f("explicit").has_presence() && !f("implicit").has_presence());
    assert!(f("needed").is_required() && !f("explicit").is_required());
    assert!(f("packed").is_packed() && !f("expanded").is_packed());
    assert!(f("checked").checks_utf8() && !f("unchecked").checks_utf8());
    assert!(f("delimited").is_delimited() && !f("child").is_delimited());
    assert!(f("closed").is_closed_enum() && !f("open").is_closed_enum());
    assert!(f("map").is_map() && !f("map").map_value().unwrap().is_delimited());
    assert!(schema.extension("ed.ext").unwrap().is_delimited());
    assert_eq!(
        schema.message("ed24.New").unwrap().field("plain").unwrap().message_type(),
        Some(plain.clone())
    );

    let mut m = plain.new_message();
    m.set(&f("needed"), 0).unwrap();
    m.set(&f("implicit"), 0).unwrap();
    m.set(&f("explicit"), 0).unwrap();
    m.mutable(&f("delimited")).unwrap().set(&f("needed"), 1).unwrap();
    let bytes = m.encode().unwrap();
    assert_eq!(bytes, &[0x08, 0, 0x18, 0, 0x4b, 0x18, 1, 0x4c][..]);
    assert_eq!(plain.decode(bytes).unwrap(), m);
    let broken = plain.decode(&[0x32, 1, 0xff][..]);
    assert_eq!(broken.map_err(|e| e.kind()), Err(DecodeErrorKind::Utf8));
}

#[test]
fn descriptors_pass_through_unchanged() {
    let schema = Schema::from_descriptor_set(EDITIONS).unwrap();
    let again = Schema::from_descriptor_set(schema.to_descriptor_set()).unwrap();
    assert_eq!(again.to_descriptor_set(), schema.to_descriptor_set());
    assert!(
        EDITIONS
            .windows(schema.file_bytes("editions2024.proto").unwrap().len())
            .any(|w| { w == schema.file_bytes("editions2024.proto").unwrap() })
    );
}

const SHOP: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/descriptor.proto";
import "base.proto";
message Order { string id = 1; google.protobuf.Timestamp at = 2; base.Money total = 3 [(base.unit) = "CHF"];
  oneof how { string card = 4; bool cash = 5; } enum State { NEW = 0; DONE = 1; } State state = 6; map<string, int32> parts = 7; }
service Shop { rpc Buy(Order) returns (Order); rpc Watch(stream Order) returns (stream base.Money); }
"#;
const BASE: &str = r#"
syntax = "proto2";
package base;
import "google/protobuf/descriptor.proto";
message Money { optional int64 cents = 1; extensions 10 to 20; }
extend Money { optional string note = 11; optional int32 tax = 10; }
extend google.protobuf.FieldOptions { optional string unit = 50001; }
"#;

fn shop() -> Schema {
    Schema::from_source([("shop.proto", SHOP), ("base.proto", BASE)]).unwrap()
}

#[test]
fn reflection_finds_files_by_every_kind_of_symbol() {
    let schema = shop();
    for (symbol, file) in [
        ("shop.v1.Order", Some("shop.proto")),
        ("shop.v1.Order.id", Some("shop.proto")),
        ("shop.v1.Order.how", Some("shop.proto")),
        ("shop.v1.Order.State", Some("shop.proto")),
        ("shop.v1.Order.DONE", Some("shop.proto")),
        ("shop.v1.Shop", Some("shop.proto")),
        ("shop.v1.Shop.Buy", Some("shop.proto")),
        ("base.note", Some("base.proto")),
        ("google.protobuf.Timestamp", Some("google/protobuf/timestamp.proto")),
        ("shop.v1", None),
        ("nothing", None),
    ] {
        assert_eq!(schema.file_of_symbol(symbol), file, "{symbol}");
    }
    assert_eq!(schema.file_of_extension("base.Money", 11), Some("base.proto"));
    assert_eq!(schema.file_of_extension("base.Money", 12), None);
    assert_eq!(schema.extension_numbers("base.Money"), Some(vec![10, 11]));
    assert_eq!(schema.extension_numbers("nothing"), None);
    let imports = schema.transitive_imports("shop.proto");
    assert_eq!(
        imports,
        ["google/protobuf/timestamp.proto", "google/protobuf/descriptor.proto", "base.proto"]
    );
    assert!(schema.transitive_imports("google/protobuf/timestamp.proto").is_empty());
    assert_eq!(
        schema.services().map(|s| s.full_name().to_owned()).collect::<Vec<_>>(),
        ["shop.v1.Shop"]
    );
}

#[test]
fn methods_are_found_by_path() {
    let schema = shop();
    let watch = schema.method("/shop.v1.Shop/Watch").unwrap();
    assert_eq!(schema.method("shop.v1.Shop/Watch"), Some(watch.clone()));
    assert_eq!((watch.path(), watch.full_name()), ("/shop.v1.Shop/Watch", "shop.v1.Shop.Watch"));
    assert!(watch.is_client_streaming() && watch.is_server_streaming());
    assert_eq!(
        (watch.input().full_name(), watch.output().full_name()),
        ("shop.v1.Order", "base.Money")
    );
    assert_eq!(schema.method("/shop.v1.Shop/Steal"), None);
    assert_eq!(schema.method("Watch"), None);
}

#[test]
fn custom_options_are_kept_and_can_be_read() {
    let schema = shop();
    let total = schema.message("shop.v1.Order").unwrap().field("total").unwrap();
    let options = schema
        .message("google.protobuf.FieldOptions")
        .unwrap()
        .decode(total.options().clone())
        .unwrap();
    assert_eq!(options.get_by_name("[base.unit]"), Ok(Value::Str("CHF")));
}

#[test]
fn files_come_in_any_order_twice_and_one_by_one() {
    let schema = shop();
    let files: Vec<Bytes> = schema.file_names().map(|f| schema.file_bytes(f).unwrap()).collect();
    let backwards = Schema::from_files(files.iter().rev().chain(&files).cloned()).unwrap();
    assert!(backwards.message("shop.v1.Order").is_some());
    assert_eq!(backwards.file_names().last(), Some("shop.proto"), "dependencies first");

    let mut builder = SchemaBuilder::new();
    builder.add_file(schema.file_bytes("shop.proto").unwrap()).unwrap();
    let missing =
        ["base.proto", "google/protobuf/descriptor.proto", "google/protobuf/timestamp.proto"];
    assert_eq!(builder.missing(), missing);
    let e = builder.build().unwrap_err();
    assert!(matches!(&e, SchemaError::MissingImport { file, .. } if file == "shop.proto"), "{e}");
    assert_eq!(builder.add_bundled(), 2);
    assert_eq!(builder.missing(), ["base.proto"]);
    builder.add_file(schema.file_bytes("base.proto").unwrap()).unwrap();
    assert!(builder.missing().is_empty() && builder.build().is_ok());
}

#[test]
fn schemas_merge_unless_they_contradict_each_other() {
    let shop = shop();
    let other =
        Schema::from_source([("other.proto", "syntax = \"proto3\"; package other; message M {}")])
            .unwrap();
    let both = shop.merge(&other).unwrap();
    assert!(both.message("other.M").is_some() && both.message("shop.v1.Order").is_some());
    assert!(both.merge(&shop).unwrap().file_names().len() == both.file_names().len());
    let changed =
        Schema::from_source([("other.proto", "syntax = \"proto3\"; package other; message N {}")])
            .unwrap();
    assert_eq!(
        both.merge(&changed).unwrap_err(),
        SchemaError::FileConflict { file: "other.proto".into() }
    );
    let clash =
        Schema::from_source([("third.proto", "syntax = \"proto3\"; package other; message M {}")])
            .unwrap();
    let e = both.merge(&clash).unwrap_err().to_string();
    assert!(e.contains("other.M") && e.contains("other.proto") && e.contains("third.proto"), "{e}");
    // every compiler ships its own google/protobuf files
    let theirs = message("Timestamp").field("seconds", 1, 3, "").field("nanos", 2, 5, "");
    let file = D::new()
        .text(12, "proto3")
        .part(4, theirs)
        .text(2, "google.protobuf")
        .file("google/protobuf/timestamp.proto");
    assert!(shop.merge(&Schema::from_files([file]).unwrap()).is_ok());
    assert!(Schema::from_files([]).unwrap().merge(&shop).is_ok());
}

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let one = |m: D| D::new().part(4, m);
    let has = |text: String, parts: &[&str]| {
        parts.iter().for_each(|p| assert!(text.contains(p), "{text} lacks {p}"))
    };
    has(invalid(D::new().part(4, message("A")).part(4, message("A"))), &["f.proto", "A", "taken"]);
    has(
        invalid(one(message("A").field("x", 1, 5, "").field("y", 1, 5, ""))),
        &["A.", "number 1", "taken"],
    );
    has(invalid(one(message("A").field("x", 1, 5, "").field("x", 2, 5, ""))), &["A.x", "taken"]);
    has(invalid(one(message("A").field("x", 1, 11, ".Nope"))), &["A.x", ".Nope"]);
    has(invalid(one(message("A").field("x", 1, 14, ".A"))), &["A.x", "type"]);
    has(invalid(one(message("A").field("x", 1, 99, ""))), &["A.x", "99"]);
    has(invalid(one(message("A").field("x", 1, 11, ""))), &["A.x"]);
    for number in [0, 19_000, 1 << 29, u64::MAX] {
        has(invalid(one(message("A").field("x", number, 5, ""))), &["A.x", "number"]);
    }
    has(
        invalid(one(message("A").part(2, D::new().text(1, "x").int(3, 1).int(5, 5).int(9, 3)))),
        &["A.x", "oneof"],
    );
    has(invalid(one(message("A").part(8, D::new().text(1, "o")))), &["A.o", "members"]);
    has(invalid(one(message("A").part(5, D::new().int(1, 5).int(2, 5)))), &["A", "range"]);
    has(
        invalid(one(message("A").field("x", 5, 5, "").part(5, D::new().int(1, 1).int(2, 9)))),
        &["A.x", "extension range"],
    );
    has(invalid(one(message("not a name"))), &["identifier"]);
    has(invalid(one(D::new())), &["identifier"]);
    has(invalid(D::new().part(5, D::new().text(1, "E"))), &["E", "value"]);
    has(
        invalid(D::new().part(7, D::new().text(1, "x").int(3, 1).int(5, 5).text(2, ".Nope"))),
        &["x", "extends"],
    );
    let entry = D::new().part(7, D::new().int(7, 1)).text(1, "E");
    has(invalid(one(message("A").part(3, entry))), &["A.E", "map entry"]);
    let service =
        D::new().part(2, D::new().text(1, "M").text(2, ".Nope").text(3, ".Nope")).text(1, "S");
    has(invalid(D::new().part(6, service)), &["S.M", ".Nope"]);
    has(invalid(D::new().text(12, "proto4")), &["proto4"]);
    has(invalid(D::new().int(14, 1002).text(12, "editions")), &["1002"]);
    let default = D::new().text(1, "x").int(3, 1).int(4, 1).int(5, 5).text(7, "many");
    has(invalid(one(message("A").part(2, default))), &["A.x", "many"]);
    let deep =
        (0..40).fold(message("Leaf"), |inner, i| D::new().part(3, inner).text(1, &format!("L{i}")));
    has(invalid(one(deep)), &["nested"]);
    let a = D::new().text(3, "b.proto").file("a.proto");
    let b = D::new().text(3, "a.proto").file("b.proto");
    assert!(matches!(Schema::from_files([a, b]), Err(SchemaError::ImportCycle { .. })));
    let own = D::new().text(3, "a.proto").file("a.proto");
    assert!(matches!(Schema::from_files([own]), Err(SchemaError::ImportCycle { .. })));
    assert!(matches!(
        Schema::from_descriptor_set(&[0x0a, 0x7f][..]),
        Err(SchemaError::Malformed { .. })
    ));
}

#[test]
fn names_without_a_dot_are_found_from_the_inside_out() {
    let inner = message("Same").field("x", 1, 5, "");
    let outer =
        message("Outer").field("f", 1, 11, "Same").field("g", 2, 11, "p.Same").part(3, inner);
    let file = D::new().part(4, outer).part(4, message("Same")).text(2, "p").file("f.proto");
    let schema = Schema::from_files([file]).unwrap();
    let outer = schema.message("p.Outer").unwrap();
    assert_eq!(outer.field("f").unwrap().message_type().unwrap().full_name(), "p.Outer.Same");
    assert_eq!(outer.field("g").unwrap().message_type().unwrap().full_name(), "p.Same");
}

#[test]
fn a_long_chain_of_imports_needs_no_stack() {
    let files = (0..50_000u32).map(|i| {
        let d = if i == 0 { D::new() } else { D::new().text(3, &format!("{}.proto", i - 1)) };
        d.file(&format!("{i}.proto"))
    });
    let files: Vec<Bytes> = files.collect();
    assert_eq!(Schema::from_files(files.into_iter().rev()).unwrap().file_names().len(), 50_000);
}

/// Whatever a schema turns out to be, its messages must be sound.
fn exercise(schema: &Schema, random: &mut impl FnMut() -> u64) {
    for ty in schema.messages() {
        let _ = (ty.new_message().encode(), format!("{:?}", ty.new_message()));
        for f in ty.fields() {
            let _ = (f.default(), f.wire_tag(), f.map_key(), f.oneof(), f.message_type());
        }
        fill(&ty, random);
    }
}

fn fill(ty: &MessageType, random: &mut impl FnMut() -> u64) {
    let mut bytes = Vec::new();
    for f in ty.fields().take(20) {
        bytes.extend_from_slice(f.wire_tag());
        bytes.extend((0..random() % 4).map(|_| random() as u8 % 16));
    }
    for end in [bytes.len(), bytes.len() / 2] {
        if let Ok(m) = Message::decode_slice(ty, &bytes[..end]) {
            let copy = m.clone();
            if let Ok(encoded) = m.encode() {
                assert_eq!(ty.decode(encoded).unwrap().encode(), copy.encode());
            }
        }
    }
}

#[test]
fn hostile_descriptors_are_refused_or_sound_and_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let shop = shop();
    let (mut taken, mut refused) = (0, 0);
    for name in ["shop.proto", "base.proto", "editions2023.proto"] {
        let all = shop.merge(&Schema::from_descriptor_set(EDITIONS).unwrap()).unwrap();
        let original = all.file_bytes(name).unwrap();
        let rest: Vec<Bytes> =
            all.file_names().filter(|f| *f != name).map(|f| all.file_bytes(f).unwrap()).collect();
        for round in 0..1500usize {
            let mut bytes = original.to_vec();
            if round < bytes.len() {
                bytes.truncate(round);
            } else {
                for _ in 0..=random() % 3 {
                    let at = random() as usize % bytes.len();
                    bytes[at] = random() as u8;
                }
            }
            let mut builder = SchemaBuilder::new();
            let added = builder.add_file(bytes);
            rest.iter()
                .take(2)
                .chain(rest.iter().skip(2))
                .for_each(|f| drop(builder.add_file(f.clone())));
            match added.and_then(|_| builder.build()) {
                Ok(schema) => {
                    taken += 1;
                    if taken % 8 == 0 {
                        exercise(&schema, &mut random);
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(taken > 100 && refused > 1000, "{taken} taken, {refused} refused");
}

/// A folder of its own that goes when the test ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let folder =
            Folder(std::env::temp_dir().join(format!("stubless-{name}-{}", std::process::id())));
        for (file, text) in files {
            let path = folder.0.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_loaded_by_name_by_path_and_with_their_imports() {
    let folder = Folder::new("load", &[("a/shop.proto", SHOP), ("b/base.proto", BASE)]);
    let (a, b) = (folder.0.join("a"), folder.0.join("b"));
    let by_name = Schema::load(["shop.proto"], [&a, &b]).unwrap();
    assert!(by_name.service("shop.v1.Shop").is_some());
    assert_eq!(by_name.file_names().last(), Some("shop.proto"));
    let by_path = Schema::load([a.join("shop.proto")], [&a, &b]).unwrap();
    assert_eq!(by_path.to_descriptor_set(), by_name.to_descriptor_set());
    let e = Schema::load(["shop.proto"], [&a]).unwrap_err();
    assert!(
        matches!(&e, SchemaError::Source { file, line: 6, .. } if file == "shop.proto"),
        "{e:?}"
    );
    assert!(e.to_string().contains("base.proto"), "{e}");
    let alone = Schema::load([b.join("base.proto")], None::<&str>).unwrap();
    assert!(
        alone.message("base.Money").is_some(),
        "without include paths, a file's own folder is searched"
    );
}

#[test]
fn a_broken_import_is_reported_where_it_is_broken() {
    let folder = Folder::new(
        "broken",
        &[
            (
                "main.proto",
                "syntax = \"proto3\";\nimport \"part.proto\";\nmessage M { P p = 1; }\n",
            ),
            ("part.proto", "syntax = \"proto3\";\n\nmessage P { int32 a = 1; int32 b = 1; }\n"),
        ],
    );
    let e = Schema::load(["main.proto"], [&folder.0]).unwrap_err();
    assert!(
        matches!(&e, SchemaError::Source { file, line: 3, .. } if file == "part.proto"),
        "{e:?}"
    );
}
