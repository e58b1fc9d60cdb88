//! Decoding and encoding over memory: small inputs, since these run under Miri too. What the bytes mean is tested in
//! `tests/pitfalls.rs`.

use bytes::Bytes;

use super::{RawValue, Reader, Writer};
use crate::message::tests::schema;
use crate::{DecodeErrorKind, Message, MessageType, Value};

fn ty() -> MessageType {
    schema().message("t.T").expect("declared")
}

/// A message with something in every kind of field.
fn full(ty: &MessageType) -> Message {
    let f = |name: &str| ty.field(name).expect("declared");
    let mut m = ty.new_message();
    m.set(&f("s"), "text").unwrap();
    m.set(&f("n"), -1).unwrap();
    m.set(&f("flag"), true).unwrap();
    for i in [1, 300, -5] {
        m.list_mut(&f("list")).unwrap().push(i).unwrap();
        m.list_mut(&f("words")).unwrap().push(format!("word {i}").as_str()).unwrap();
        let mut one = m.list_mut(&f("many")).unwrap();
        one.push_message().unwrap().set(&f("n"), i).unwrap();
    }
    m.mutable(&f("next")).unwrap().mutable(&f("b")).unwrap().set(&f("s"), "deep").unwrap();
    for key in ["x", "y"] {
        m.map_mut(&f("map")).unwrap().insert_message(key).unwrap().set(&f("s"), key).unwrap();
    }
    m.as_mut().add_unknown(&[0xc0, 0x3e, 0x05, 0xca, 0x3e, 0x01, 0x07]).unwrap();
    m
}

#[test]
fn what_is_written_reads_back_shared_or_copied() {
    let ty = ty();
    let m = full(&ty);
    let bytes = m.encode().unwrap();
    let (shared, copied) =
        (ty.decode(bytes.clone()).unwrap(), Message::decode_slice(&ty, &bytes).unwrap());
    assert_eq!(shared, m);
    assert_eq!(copied, m);
    drop(m);
    assert_eq!(shared.encode().unwrap(), bytes);
    let clone = shared.clone();
    drop((shared, bytes));
    assert_eq!(clone, copied);
}

#[test]
fn decoded_messages_can_be_changed() {
    let ty = ty();
    let f = |name: &str| ty.field(name).expect("declared");
    let mut m = ty.decode(full(&ty).encode().unwrap()).unwrap();
    m.set(&f("s"), "new").unwrap();
    m.list_mut(&f("list")).unwrap().insert(0, 9).unwrap();
    m.list_mut(&f("words")).unwrap().remove(0).unwrap();
    m.mutable(&f("next")).unwrap().set(&f("c"), 4).unwrap();
    m.map_mut(&f("map")).unwrap().insert_message("z").unwrap();
    m.merge_bytes(Bytes::from_static(&[0x12, 1, b'?', 0x0a, 1, b'!'])).unwrap();
    let again = ty.decode(m.encode().unwrap()).unwrap();
    assert_eq!(again, m);
    assert_eq!(again.str(&f("s")), Ok("!"));
    m.clear_all();
    assert!(m.is_empty() && m.encode().unwrap().is_empty());
}

#[test]
fn every_cut_is_refused_or_whole() {
    let ty = ty();
    let bytes = full(&ty).encode().unwrap();
    let mut whole = 0;
    for end in 0..bytes.len() {
        match Message::decode_slice(&ty, &bytes[..end]) {
            Ok(m) => whole += usize::from(ty.decode(m.encode().unwrap()).unwrap() == m),
            Err(e) => assert!(matches!(e.kind(), DecodeErrorKind::Truncated), "{e}"),
        }
    }
    assert!(whole > 5 && whole < bytes.len() / 2, "{whole} of {}", bytes.len());
}

#[test]
fn merged_messages_and_maps_share_one_arena() {
    let ty = ty();
    let twice = full(&ty).encode().unwrap();
    let m = ty.decode([&twice[..], &twice[..]].concat()).unwrap();
    let f = |name: &str| ty.field(name).expect("declared");
    assert_eq!(m.list(&f("list")).unwrap().len(), 6);
    assert_eq!(m.map(&f("map")).unwrap().len(), 2);
    let Some(Value::Message(x)) = m.map(&f("map")).unwrap().get("x") else { panic!("x is there") };
    assert_eq!(x.str(&f("s")), Ok("x"));
}

#[test]
fn a_oneof_member_leaves_nothing_behind_for_the_next() {
    let ty = ty();
    let f = |name: &str| ty.field(name).expect("declared");
    // a string, then a message, then a number, then the message again, in one slot
    let bytes = [0x32, 2, b'h', b'i', 0x3a, 2, 0x10, 1, 0x40, 7, 0x3a, 3, 0x0a, 1, b'q'];
    let m = Message::decode_slice(&ty, &bytes).unwrap();
    let b = m.message(&f("b")).unwrap();
    assert_eq!((b.str(&f("s")), b.i32(&f("n"))), (Ok("q"), Ok(0)));
}

#[test]
fn the_writer_grows_and_is_used_again() {
    let mut w = Writer::new();
    for round in 0..3u64 {
        w.clear();
        let mark = w.len();
        for i in (0..100u64).rev() {
            w.push_varint(i * i * i * (round + 1));
        }
        w.push_length(mark);
        w.push_tag(2);
        let taken = w.as_slice().to_vec();
        let mut r = Reader::new(&taken[1..]);
        let mut body = Reader::new(r.length().unwrap());
        for i in 0..100u64 {
            assert_eq!(body.varint(), Ok(i * i * i * (round + 1)));
        }
        assert!(body.is_empty() && r.is_empty());
    }
    w.clear();
    w.push_raw(&[7; 40_000]);
    let large = w.take();
    assert_eq!((large.len(), w.len()), (40_000, 0));
    w.push_zigzag(-2);
    assert_eq!(w.take(), &[3][..]);
}

#[test]
fn varints_of_every_length_read_as_written() {
    for bits in 0..64 {
        for value in [1u64 << bits, (1 << bits) - 1, u64::MAX >> (63 - bits)] {
            let mut w = Writer::new();
            w.push_raw(&[0xaa; 12]);
            w.push_varint(value);
            let mut with_room = Reader::new(w.as_slice());
            assert_eq!(with_room.varint(), Ok(value));
            let len = with_room.position();
            assert_eq!(
                Reader::new(&w.as_slice()[..len]).varint(),
                Ok(value),
                "without bytes behind it"
            );
            for cut in 0..len {
                assert_eq!(
                    Reader::new(&w.as_slice()[..cut]).varint(),
                    Err(DecodeErrorKind::Truncated)
                );
            }
        }
    }
    for behind in [0, 20] {
        let eleven = [vec![0x80; 10], vec![1], vec![0; behind]].concat();
        assert_eq!(Reader::new(&eleven).varint(), Err(DecodeErrorKind::VarintTooLong));
    }
}

#[test]
fn the_reader_gives_groups_without_their_tags() {
    let bytes = [0x0b, 0x0a, 0x01, 0xff, 0x13, 0x14, 0x0c, 0x10, 0x01];
    let mut r = Reader::new(&bytes);
    assert_eq!(r.next_field(5), Ok(Some((1, RawValue::Group(&bytes[1..6])))));
    assert_eq!(r.next_field(5), Ok(Some((2, RawValue::Varint(1)))));
    assert_eq!(r.next_field(5), Ok(None));
    assert_eq!(Reader::new(&bytes).next_field(1), Err(DecodeErrorKind::TooDeep));
}

#[test]
fn a_large_input_is_kept_and_not_copied() {
    let ty = ty();
    let f = |name: &str| ty.field(name).expect("declared");
    let mut m = full(&ty);
    m.set(&f("s"), "x".repeat(17 << 10).as_str()).unwrap();
    let bytes = m.encode().unwrap();
    let shared = ty.decode(bytes.clone()).unwrap();
    assert!(bytes.as_ptr_range().contains(&shared.str(&f("s")).unwrap().as_ptr()));
    let copied = Message::decode_slice(&ty, &bytes).unwrap();
    assert!(!bytes.as_ptr_range().contains(&copied.str(&f("s")).unwrap().as_ptr()));
    drop((m, bytes));
    let mut changed = shared.clone();
    changed.merge_from(copied.as_ref()).unwrap();
    assert_eq!(shared, copied);
    assert_ne!(changed, shared, "lists have grown");
    let view = shared.into_view();
    let next = view.child(view.as_ref().message(&f("next")).unwrap()).unwrap();
    drop(view);
    assert_eq!(next.as_ref().message(&f("b")).unwrap().str(&f("s")), Ok("deep"));
}

#[test]
fn whatever_the_bytes_are_the_message_is_sound() {
    let ty = ty();
    let original = full(&ty).encode().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    let mut taken = 0;
    for _ in 0..if cfg!(miri) { 60 } else { 20_000 } {
        let mut bytes = original.to_vec();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        let Ok(m) = Message::decode_slice(&ty, &bytes) else { continue };
        taken += 1;
        let mut copy = m.clone();
        let encoded = m.encode().unwrap();
        let back = ty.decode(encoded.clone()).unwrap();
        assert_eq!(back.encode().unwrap(), encoded);
        copy.merge_from(back.as_ref()).unwrap();
        for (field, _) in back.fields() {
            copy.clear(&field);
        }
        copy.clear_unknown();
        assert!(copy.is_empty(), "{copy:?}");
    }
    assert!(taken > 5, "{taken} messages were left whole");
}
