//! Frames out of bytes cut anywhere, and bytes out of frames.

use super::*;

const LIMIT: usize = 1 << 20;

/// The wire form of messages with these lengths, each filled with its index; every third one compressed.
fn wire(lengths: &[usize]) -> (Vec<u8>, Vec<Frame>) {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for (index, &length) in lengths.iter().enumerate() {
        let compressed = index % 3 == 2;
        let payload = vec![index as u8; length];
        bytes.extend_from_slice(&encode_prefix(compressed, length as u32));
        bytes.extend_from_slice(&payload);
        frames.push(Frame { compressed, payload: payload.into() });
    }
    (bytes, frames)
}

fn drain(deframer: &mut Deframer) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = deframer.poll_frame().expect("good frames") {
        frames.push(frame);
    }
    frames
}

#[test]
fn the_prefix_is_a_flag_and_a_big_endian_length() {
    assert_eq!(encode_prefix(false, 3), [0, 0, 0, 0, 3]);
    assert_eq!(encode_prefix(true, 0x0102_0304), [1, 1, 2, 3, 4]);
}

/// Row 14: cut in two at every place, read after each part or only at the end.
#[test]
fn messages_come_out_whole_wherever_the_stream_is_cut() {
    let (bytes, frames) = wire(&[0, 1, 5, 0, 70, 3]);
    let bytes = Bytes::from(bytes);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            for eager in [false, true] {
                let mut deframer = Deframer::new(LIMIT);
                let mut read = Vec::new();
                for part in [0..first, first..second, second..bytes.len()] {
                    deframer.push(bytes.slice(part));
                    if eager {
                        read.extend(drain(&mut deframer));
                    }
                }
                read.extend(drain(&mut deframer));
                assert_eq!(read, frames, "cut at {first} and {second}, eager {eager}");
                assert!(!deframer.is_mid_frame());
            }
        }
    }
}

/// Row 14: 1-byte DATA frames; the queue of a slow reader joins them.
#[test]
fn messages_come_out_whole_byte_by_byte() {
    let (bytes, frames) = wire(&[0, 1, 700, 20_000, 40_000, 2]);
    for eager in [false, true] {
        let mut deframer = Deframer::new(LIMIT);
        let mut read = Vec::new();
        for &byte in &bytes {
            deframer.push(Bytes::copy_from_slice(&[byte]));
            if eager {
                read.extend(drain(&mut deframer));
            }
        }
        assert!(
            deframer.waiting_chunks() <= bytes.len() / JOINED_BYTES + 1,
            "joined while they wait"
        );
        read.extend(drain(&mut deframer));
        assert_eq!(read, frames);
    }
}

#[test]
fn chunks_of_every_size_make_the_same_messages() {
    let (bytes, frames) = wire(&[10, 600, 0, 1500, 100_000, 1, 0, 66_000]);
    let bytes = Bytes::from(bytes);
    for size in [1, 2, 3, 5, 7, 64, 511, 512, 513, 4096, 16_384, 65_536, 200_000] {
        let mut deframer = Deframer::new(LIMIT);
        let mut at = 0;
        while at < bytes.len() {
            // large and small by turns, so that joined and kept chunks alternate
            let end = (at + if at % 2 == 0 { size } else { 1 }).min(bytes.len());
            deframer.push(bytes.slice(at..end));
            at = end;
        }
        assert_eq!(drain(&mut deframer), frames, "chunks of {size}");
    }
}

#[test]
fn a_large_message_in_one_chunk_is_not_copied() {
    let (bytes, _) = wire(&[1025, 2000, 30_000]);
    let bytes = Bytes::from(bytes);
    let mut deframer = Deframer::new(LIMIT);
    deframer.push(bytes.clone());
    for frame in drain(&mut deframer) {
        let inside = bytes.as_ptr_range().contains(&frame.payload.as_ptr());
        assert!(inside, "a payload of {} bytes moved", frame.payload.len());
    }
    // prefix in one chunk, payload in the next: still no copy
    let payload = Bytes::from(vec![7; 3000]);
    deframer.push(Bytes::copy_from_slice(&encode_prefix(false, 3000)));
    assert_eq!(deframer.poll_frame(), Ok(None));
    deframer.push(payload.clone());
    assert_eq!(deframer.poll_frame().unwrap().unwrap().payload.as_ptr(), payload.as_ptr());
}

#[test]
fn a_small_message_that_is_kept_does_not_keep_its_chunk() {
    let (bytes, _) = wire(&[0, 10, 20_000, 1024]);
    let chunk = Bytes::from(bytes);
    let mut deframer = Deframer::new(LIMIT);
    deframer.push(chunk.clone());
    let mut kept = drain(&mut deframer);
    assert!(!chunk.is_unique());
    kept.remove(2);
    assert!(chunk.is_unique(), "only the large one held it");
}

/// Row 17.
#[test]
fn a_flag_byte_of_2_to_255_is_an_error_for_good() {
    for flag in 2..=255 {
        let mut deframer = Deframer::new(LIMIT);
        deframer.push(Bytes::copy_from_slice(&[flag, 0, 0, 0, 0]));
        assert_eq!(deframer.poll_frame(), Err(FrameError::Flag { flag }));
        deframer.push(Bytes::from_static(&[0; 5]));
        assert_eq!(deframer.poll_frame(), Err(FrameError::Flag { flag }), "again at every call");
    }
    assert_eq!(FrameError::Flag { flag: 2 }.code(), Code::Internal);
}

/// Row 18.
#[test]
fn a_length_over_the_limit_is_an_error_at_the_prefix() {
    for cut in 0..=5 {
        let prefix = Bytes::copy_from_slice(&encode_prefix(false, 101));
        let mut deframer = Deframer::new(100);
        deframer.push(prefix.slice(..cut));
        if cut < 5 {
            assert_eq!(deframer.poll_frame(), Ok(None));
        }
        deframer.push(prefix.slice(cut..));
        let error = FrameError::TooLarge { length: 101, limit: 100 };
        assert_eq!(deframer.poll_frame(), Err(error));
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert!(!deframer.is_mid_frame(), "nothing is kept");
    }
    let mut deframer = Deframer::new(LIMIT);
    deframer.push(Bytes::from_static(&[0, 255, 255, 255, 255]));
    assert!(matches!(deframer.poll_frame(), Err(FrameError::TooLarge { length: u32::MAX, .. })));
}

#[test]
fn a_limit_is_met_exactly_and_0_admits_the_empty_message() {
    let (bytes, frames) = wire(&[100]);
    let mut deframer = Deframer::new(100);
    deframer.push(bytes.into());
    assert_eq!(drain(&mut deframer), frames);
    let mut deframer = Deframer::new(0);
    deframer.push(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(deframer.poll_frame().unwrap().unwrap().payload, "");
    assert_eq!(deframer.poll_frame(), Err(FrameError::TooLarge { length: 1, limit: 0 }));
}

/// The defaults: at most 64 KiB are reserved before bytes arrive.
#[test]
fn a_prefix_alone_does_not_reserve_its_message() {
    let mut deframer = Deframer::new(4 << 20);
    deframer.push(Bytes::copy_from_slice(&encode_prefix(false, 4 << 20)));
    assert_eq!(deframer.poll_frame(), Ok(None));
    assert_eq!(deframer.reserved(), 0);
    let mut arrived = 0;
    while arrived < 4 << 20 {
        deframer.push(Bytes::from(vec![1; 1000.min((4 << 20) - arrived)]));
        arrived = (arrived + 1000).min(4 << 20);
        let frame = deframer.poll_frame().unwrap();
        assert!(
            deframer.reserved() <= (2 * arrived).max(RESERVE_BYTES) + 1000,
            "{arrived} arrived"
        );
        assert_eq!(frame.is_some(), arrived == 4 << 20);
    }
}

/// Row 19.
#[test]
fn a_stream_that_ends_inside_a_message_is_seen() {
    let (bytes, _) = wire(&[3, 4]);
    let bytes = Bytes::from(bytes);
    for end in 0..=bytes.len() {
        let mut deframer = Deframer::new(LIMIT);
        deframer.push(bytes.slice(..end));
        drain(&mut deframer);
        let whole = [0, 8, 17].contains(&end);
        assert_eq!(deframer.is_mid_frame(), !whole, "ended after {end} bytes");
    }
}

#[test]
fn random_bytes_never_panic_and_never_make_more_than_they_are() {
    let mut seed = 1u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..3_000 {
        let mut deframer = Deframer::new(300);
        let (mut pushed, mut taken) = (0, 0);
        for _ in 0..20 {
            let length = random() % 40;
            // mostly zeros, so that some prefixes are good
            let chunk: Vec<u8> = (0..length)
                .map(|_| if random() % 8 == 0 { (random() % 30) as u8 } else { 0 })
                .collect();
            pushed += chunk.len();
            deframer.push(chunk.into());
            if random() % 2 == 0 {
                while let Ok(Some(frame)) = deframer.poll_frame() {
                    taken += PREFIX_BYTES + frame.payload.len();
                }
            }
        }
        assert!(taken <= pushed);
    }
}

#[test]
fn a_chunk_that_waits_behind_a_finished_message_is_not_forgotten() {
    let (bytes, frames) = wire(&[1000, 1000]);
    let bytes = Bytes::from(bytes);
    let mut deframer = Deframer::new(LIMIT);
    for part in [0..600, 600..1005, 1005..2010] {
        deframer.push(bytes.slice(part));
    }
    assert_eq!(deframer.poll_frame().unwrap().as_ref(), frames.first());
    assert!(deframer.is_mid_frame(), "there is more to read");
    assert_eq!(deframer.poll_frame().unwrap().as_ref(), frames.last());
    assert!(!deframer.is_mid_frame());
}

fn framed(mut frame: FrameBytes) -> Vec<u8> {
    let mut bytes = Vec::new();
    while frame.has_remaining() {
        let chunk = frame.chunk().to_vec();
        let step = chunk.len().min(3);
        bytes.extend_from_slice(&chunk[..step]);
        frame.advance(step);
    }
    bytes
}

#[test]
fn a_message_is_written_the_same_by_every_road() {
    for length in [0, 1, 5, COPY_BYTES, COPY_BYTES + 1, 100_000] {
        let payload = Bytes::from(vec![9; length]);
        let mut expected = encode_prefix(false, length as u32).to_vec();
        expected.extend_from_slice(&payload);

        let frame = FrameBytes::new(false, payload.clone());
        assert_eq!(frame.len(), expected.len());
        assert_eq!(framed(frame.clone()), expected);
        assert_eq!(frame.clone().into_bytes(), expected);
        let (head, tail) = frame.clone().into_parts();
        assert_eq!([&head[..], &tail[..]].concat(), expected);
        if length > COPY_BYTES {
            assert_eq!(tail.as_ptr(), payload.as_ptr(), "a large payload is not copied");
        } else {
            assert!(tail.is_empty(), "a small one goes in one piece");
        }
        let mut slices = [IoSlice::new(&[]), IoSlice::new(&[])];
        let count = frame.chunks_vectored(&mut slices);
        let vectored: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(vectored, expected);

        let mut in_place = BytesMut::from(&[0xee; PREFIX_BYTES][..]);
        in_place.extend_from_slice(&payload);
        let at = in_place.as_ptr();
        let frame = FrameBytes::in_place(in_place);
        assert_eq!(framed(frame.clone()), expected);
        let (head, tail) = frame.into_parts();
        assert_eq!((&head[..], head.as_ptr(), tail.len()), (&expected[..], at, 0));
    }
    assert_eq!(framed(FrameBytes::in_place(BytesMut::new())), [0, 0, 0, 0, 0]);
    assert_eq!(
        framed(FrameBytes::new(true, Bytes::from_static(b"ab"))),
        [1, 0, 0, 0, 2, b'a', b'b']
    );
}

#[test]
fn a_message_is_split_for_a_small_window_at_any_place() {
    for first in 0..=9 {
        for second in 0..=9 {
            let mut frame = FrameBytes::new(true, Bytes::from_static(b"abc"));
            let mut bytes = framed(frame.split_to(first));
            assert_eq!(bytes.len(), first.min(8));
            bytes.extend(framed(frame.split_to(second)));
            bytes.extend(framed(frame));
            assert_eq!(bytes, b"\x01\0\0\0\x03abc", "after {first} and {second}");
        }
    }
}
