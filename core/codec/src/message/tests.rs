//! Reading and writing messages. Small inputs: these run under Miri too.

use crate::{Message, Schema, Value, ValueError};

/// A schema without the text parser, which Miri would take minutes for: `message T { string s = 1; int32 n = 2;
/// repeated int32 list = 3; T next = 4; map<string, T> map = 5; oneof o { string a = 6; T b = 7; int64 c = 8; }
/// repeated string words = 9; repeated T many = 10; optional bool flag = 11; }`, proto3.
pub(crate) fn schema() -> Schema {
    Schema::from_files([crate::schema::tests::sample_file()]).expect("the sample is valid")
}

fn new() -> (Message, impl Fn(&str) -> crate::Field) {
    let ty = schema().message("t.T").expect("declared");
    (ty.new_message(), move |name: &str| ty.field(name).expect("declared"))
}

#[test]
fn what_is_set_reads_back_and_what_is_not_reads_as_its_default() {
    let (mut m, f) = new();
    assert_eq!(m.get(&f("s")), Value::Str(""));
    assert!(!m.has(&f("s")));
    m.set(&f("s"), "hello").unwrap();
    m.set(&f("n"), -7).unwrap();
    assert_eq!(m.get(&f("s")), Value::Str("hello"));
    assert_eq!(m.i32(&f("n")), Ok(-7));
    assert!(m.has(&f("s")));
    m.clear(&f("s"));
    assert!(!m.has(&f("s")));
    // no presence: zero is unset
    m.set(&f("n"), 0).unwrap();
    assert!(!m.has(&f("n")));
    // presence: false is set
    m.set(&f("flag"), false).unwrap();
    assert!(m.has(&f("flag")));
}

#[test]
fn an_unset_message_reads_as_empty_all_the_way_down() {
    let (m, f) = new();
    let deep = m.message(&f("next")).unwrap().message(&f("next")).unwrap();
    assert_eq!(deep.str(&f("s")), Ok(""));
    assert!(deep.is_empty());
    assert!(!m.has(&f("next")));
}

#[test]
fn wrong_types_name_the_field_and_change_nothing() {
    let (mut m, f) = new();
    m.set(&f("n"), 1).unwrap();
    let e = m.set(&f("n"), "one").unwrap_err();
    assert_eq!(e.to_string(), "t.T.n: expected int32, got string");
    let e = m.set(&f("n"), 1i64 << 40).unwrap_err();
    assert_eq!(e.to_string(), "t.T.n: 1099511627776 is out of range for int32");
    assert_eq!(m.i32(&f("n")), Ok(1));
    assert!(m.set(&f("list"), 1).is_err());
    assert!(m.i64(&f("n")).is_err());
    assert!(m.mutable(&f("s")).is_err());
    assert!(m.list_mut(&f("map")).is_err());
    assert!(m.map_mut(&f("list")).is_err());
    let other = schema().message("t.T").unwrap().field("n").unwrap();
    assert!(matches!(m.set(&other, 2), Err(ValueError::ForeignField { .. })));
    assert!(matches!(m.set_by_name("nope", 2), Err(ValueError::NoSuchField { .. })));
}

#[test]
fn lists_grow_shrink_and_keep_their_order() {
    let (mut m, f) = new();
    let mut list = m.list_mut(&f("list")).unwrap();
    for i in 0..100 {
        list.push(i).unwrap();
    }
    list.insert(0, -1).unwrap();
    list.remove(50).unwrap();
    list.set(1, 1000).unwrap();
    list.swap(0, 2).unwrap();
    assert!(list.set(100, 0).is_err());
    assert!(list.insert(101, 0).is_err());
    assert!(list.push("x").is_err());
    assert_eq!(
        m.list(&f("list")).unwrap().as_i32s().map(|s| (s.len(), s[0], s[1], s[2], s[99])),
        Some((100, 1, 1000, -1, 99))
    );
    m.list_mut(&f("list")).unwrap().truncate(1);
    assert_eq!(m.list(&f("list")).unwrap().iter().collect::<Vec<_>>(), [Value::I32(1)]);
    m.clear(&f("list"));
    assert!(m.list(&f("list")).unwrap().is_empty());
    let mut words = m.list_mut(&f("words")).unwrap();
    words.push("b").unwrap();
    words.insert(0, "a").unwrap();
    assert_eq!(format!("{:?}", m.list(&f("words")).unwrap()), r#"[Str("a"), Str("b")]"#);
}

#[test]
fn lists_of_messages_are_filled_in_place() {
    let (mut m, f) = new();
    for i in 0..3 {
        m.list_mut(&f("many")).unwrap().push_message().unwrap().set(&f("n"), i).unwrap();
    }
    m.list_mut(&f("many")).unwrap().message(1).unwrap().set(&f("s"), "one").unwrap();
    let copy = m.clone();
    m.list_mut(&f("many")).unwrap().push(&copy).unwrap();
    let Some(Value::Message(last)) = m.list(&f("many")).unwrap().get(3) else {
        panic!("four elements")
    };
    assert_eq!(last, copy.as_ref());
    assert!(m.list_mut(&f("list")).unwrap().push_message().is_err());
}

#[test]
fn maps_hold_each_key_once() {
    let (mut m, f) = new();
    let mut map = m.map_mut(&f("map")).unwrap();
    for round in 0..2 {
        for i in 0..40 {
            map.insert_message(format!("k{i}").as_str()).unwrap().set(&f("n"), i + round).unwrap();
        }
    }
    assert_eq!(map.len(), 40);
    assert!(map.remove("k7"));
    assert!(!map.remove("k7"));
    map.message("k8").unwrap().set(&f("n"), 88).unwrap();
    assert!(map.insert(1, "x").is_err());
    let map = m.map(&f("map")).unwrap();
    assert!(!map.contains("k7"));
    let Some(Value::Message(eight)) = map.get("k8") else { panic!("k8 is there") };
    assert_eq!(eight.i32(&f("n")), Ok(88));
    assert_eq!(map.iter().count(), 39);
}

#[test]
fn a_oneof_holds_one_member() {
    let (mut m, f) = new();
    let oneof = f("a").oneof().unwrap();
    assert_eq!(m.which_oneof(&oneof), None);
    m.set(&f("a"), "text").unwrap();
    assert_eq!(m.which_oneof(&oneof), Some(f("a")));
    m.mutable(&f("b")).unwrap().set(&f("n"), 3).unwrap();
    assert!(!m.has(&f("a")));
    assert_eq!(m.get(&f("a")), Value::Str(""));
    m.set(&f("c"), 0).unwrap();
    assert!(m.has(&f("c")), "a member set to zero is set");
    m.clear(&f("b"));
    assert!(m.has(&f("c")));
    m.clear_oneof(&oneof);
    assert_eq!(m.which_oneof(&oneof), None);
}

#[test]
fn merging_replaces_appends_and_descends() {
    let (mut a, f) = new();
    let mut b = f("s").containing_type().new_message();
    a.set(&f("s"), "a").unwrap();
    a.list_mut(&f("list")).unwrap().push(1).unwrap();
    a.mutable(&f("next")).unwrap().set(&f("s"), "stays").unwrap();
    a.map_mut(&f("map")).unwrap().insert_message("x").unwrap().set(&f("n"), 1).unwrap();
    b.set(&f("s"), "b").unwrap();
    b.list_mut(&f("list")).unwrap().push(2).unwrap();
    b.mutable(&f("next")).unwrap().set(&f("n"), 5).unwrap();
    b.map_mut(&f("map")).unwrap().insert_message("x").unwrap().set(&f("n"), 2).unwrap();
    a.merge_from(b.as_ref()).unwrap();
    assert_eq!(a.str(&f("s")), Ok("b"));
    assert_eq!(a.list(&f("list")).unwrap().as_i32s(), Some(&[1, 2][..]));
    let next = a.message(&f("next")).unwrap();
    assert_eq!((next.str(&f("s")), next.i32(&f("n"))), (Ok("stays"), Ok(5)));
    let Some(Value::Message(x)) = a.map(&f("map")).unwrap().get("x") else { panic!("x is there") };
    assert_eq!(x.i32(&f("n")), Ok(2));
    assert_eq!(a.map(&f("map")).unwrap().len(), 1);
}

#[test]
fn copies_are_equal_and_independent() {
    let (mut a, f) = new();
    a.set(&f("s"), "a").unwrap();
    a.list_mut(&f("words")).unwrap().push("w").unwrap();
    a.mutable(&f("b")).unwrap().set(&f("n"), 1).unwrap();
    let mut b = a.clone();
    assert_eq!(a, b);
    b.mutable(&f("b")).unwrap().set(&f("n"), 2).unwrap();
    assert_ne!(a, b);
    drop(a);
    assert_eq!(b.str(&f("s")), Ok("a"));
}

#[test]
fn a_message_of_another_schema_goes_by_way_of_its_encoding() {
    let (mut a, f) = new();
    let theirs = schema().message("t.T").unwrap();
    let mut b = theirs.new_message();
    b.set_by_name("s", "other").unwrap();
    a.set(&f("next"), &b).unwrap();
    assert_eq!(a.message(&f("next")).unwrap(), b.as_ref());
    a.merge_from(b.as_ref()).unwrap();
    drop((b, theirs));
    assert_eq!(a.str(&f("s")), Ok("other"));
    assert_eq!(a.message(&f("next")).unwrap().str(&f("s")), Ok("other"));
}

#[test]
fn a_view_keeps_its_root_alive() {
    let (mut m, f) = new();
    m.mutable(&f("next")).unwrap().set(&f("s"), "deep").unwrap();
    let root = m.into_view();
    let child = root.child(root.as_ref().message(&f("next")).unwrap()).unwrap();
    let unset = child.child(child.as_ref().message(&f("next")).unwrap()).unwrap();
    let other = f("s").containing_type().new_message();
    assert!(root.child(other.as_ref()).is_none());
    drop(root);
    assert_eq!(child.as_ref().str(&f("s")), Ok("deep"));
    assert!(unset.as_ref().is_empty());
}

/// Compiles only if what is shared between threads may be.
fn shareable<T: Send + Sync>() {}

#[test]
fn handles_and_messages_are_shareable() {
    shareable::<Schema>();
    shareable::<crate::MessageType>();
    shareable::<crate::Field>();
    shareable::<crate::Service>();
    shareable::<Message>();
    shareable::<crate::MessageRef<'_>>();
    shareable::<crate::MessageView>();
}

#[test]
fn messages_cross_threads_and_pointers() {
    let (mut m, f) = new();
    m.set(&f("s"), "sent").unwrap();
    let raw = m.into_raw();
    // SAFETY: just given up, taken back once.
    let m = unsafe { Message::from_raw(raw) };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(m.str(&f("s")), Ok("sent")));
        }
    });
    let sent = std::thread::spawn(move || m).join().unwrap();
    assert_eq!(sent.str(&f("s")), Ok("sent"));
}

#[test]
fn shared_bytes_are_not_copied() {
    let (mut m, f) = new();
    let bytes = bytes::Bytes::from(vec![b'x'; 100]);
    m.set_shared(&f("s"), bytes.clone()).unwrap();
    assert_eq!(m.bytes(&f("s")).unwrap().as_ptr(), bytes.as_ptr());
    assert!(m.set_shared(&f("s"), bytes::Bytes::from_static(&[0xff])).is_err());
    drop(bytes);
    assert_eq!(m.str(&f("s")).unwrap().len(), 100);
}
