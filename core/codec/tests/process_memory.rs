//! The limit all messages of a process share. Alone in its file, since it is a process of its own.

use stubless_codec::{DecodeErrorKind, Message, Schema, set_process_memory_limit};

#[test]
fn many_large_messages_at_once_are_refused_and_small_ones_are_not() {
    let source = "syntax = \"proto3\"; message M { repeated int64 n = 1; }";
    let ty = Schema::from_source([("m.proto", source)]).unwrap().message("M").unwrap();
    let large = [vec![0x0a, 0xa0, 0x8d, 0x06], vec![1; 100_000]].concat();
    set_process_memory_limit(2 << 20);
    let held: Vec<Message> =
        (0..2).map(|_| ty.decode(large.clone()).expect("800 KB each")).collect();
    assert_eq!(ty.decode(large.clone()).map_err(|e| e.kind()), Err(DecodeErrorKind::Memory));
    assert!(
        ty.decode(&[0x08, 0x01][..]).is_ok(),
        "small ones need nothing beyond their first chunk"
    );
    let copy = held[0].clone();
    assert_eq!(copy, held[0], "what is not decoded is not refused");
    drop((held, copy));
    assert!(ty.decode(large).is_ok(), "what was dropped does not count");
}
