//! Codings: what is one message, what is too large, and what is no message at all (rows 22 to 24).

use super::*;

const LIMIT: usize = 4 << 20;

fn coded() -> impl Iterator<Item = Encoding> {
    Encoding::ALL.iter().copied().filter(|&encoding| encoding != Encoding::Identity)
}

/// Half text, half noise, `length` bytes.
fn message(length: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9u32;
    (0..length)
        .map(|at| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at / 64 % 2 == 0 { b"hello, hello, "[at % 14] } else { (seed >> 24) as u8 }
        })
        .collect()
}

fn corrupt(result: Result<Bytes, CompressionError>) -> bool {
    matches!(result, Err(error @ CompressionError::Corrupt { .. }) if error.code() == Code::Internal)
}

#[test]
fn names_are_those_of_grpc_encoding() {
    assert_eq!(Encoding::from_name(b"gzip"), Some(Encoding::Gzip));
    assert_eq!(Encoding::from_name(b"deflate"), Some(Encoding::Deflate));
    assert_eq!(Encoding::from_name(b"identity"), Some(Encoding::Identity));
    assert_eq!(Encoding::from_name(b"zstd").is_some(), cfg!(feature = "zstd"));
    for name in [&b"snappy"[..], b"GZIP", b"", b"br"] {
        assert_eq!(Encoding::from_name(name), None);
    }
    let listed: Vec<_> =
        ACCEPT.split(',').map(|name| Encoding::from_name(name.as_bytes())).collect();
    let all: Vec<_> = Encoding::ALL.iter().map(|&encoding| Some(encoding)).collect();
    assert_eq!(listed, all, "we announce what we read, and all of it");
}

#[test]
fn a_peers_list_is_read_leniently() {
    let set = EncodingSet::parse(b"snappy, gzip ,br");
    assert!(set.contains(Encoding::Gzip) && set.contains(Encoding::Identity));
    assert!(!set.contains(Encoding::Deflate));
    let set = set.union(EncodingSet::parse(b"deflate"));
    assert!(set.contains(Encoding::Deflate) && set.contains(Encoding::Gzip));
    assert!(EncodingSet::parse(b"").contains(Encoding::Identity), "everybody reads identity");
    let ours = EncodingSet::parse(ACCEPT.as_bytes());
    assert!(Encoding::ALL.iter().all(|&encoding| ours.contains(encoding)));
}

#[test]
fn every_message_comes_back() {
    for encoding in coded() {
        for length in [0, 1, 2, 100, 1000, 65_535, 65_536, 65_537, 1 << 20, LIMIT] {
            for text in [message(length), vec![0; length]] {
                let body = compress(encoding, &text).unwrap();
                let read = decompress(encoding, &body, LIMIT).unwrap();
                assert!(read == text, "{encoding}, {length} bytes");
            }
        }
    }
}

#[test]
fn the_limit_is_met_exactly_and_not_passed() {
    for encoding in coded() {
        for length in [1, 100, 70_000] {
            let body = compress(encoding, &message(length)).unwrap();
            assert_eq!(decompress(encoding, &body, length).unwrap().len(), length);
            let error = decompress(encoding, &body, length - 1).unwrap_err();
            assert_eq!(error, CompressionError::TooLarge { limit: length - 1 });
            assert_eq!(error.code(), Code::ResourceExhausted);
        }
        let empty = compress(encoding, b"").unwrap();
        assert_eq!(decompress(encoding, &empty, 0).unwrap(), "", "{encoding}");
    }
}

/// Row 23: a bomb costs the limit and one byte, whatever it claims to hold.
#[test]
fn a_bomb_is_stopped_at_the_limit() {
    for encoding in coded() {
        let bomb = compress(encoding, &vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 1 << 20);
        let error = decompress(encoding, &bomb, LIMIT).unwrap_err();
        assert_eq!(error, CompressionError::TooLarge { limit: LIMIT }, "{encoding}");
    }
    // one that claims to be small
    let mut liar = compress(Encoding::Gzip, &vec![0; 8 << 20]).unwrap().to_vec();
    let end = liar.len();
    liar[end - 4..].copy_from_slice(&5u32.to_le_bytes());
    let error = decompress(Encoding::Gzip, &liar, LIMIT).unwrap_err();
    assert_eq!(error, CompressionError::TooLarge { limit: LIMIT });
}

/// Row 24: truncated.
#[test]
fn a_body_cut_short_anywhere_is_corrupt() {
    for encoding in coded() {
        for length in [0, 1, 300] {
            let body = compress(encoding, &message(length)).unwrap();
            for end in 0..body.len() {
                assert!(corrupt(decompress(encoding, &body[..end], LIMIT)), "{encoding} to {end}");
            }
        }
    }
}

/// Row 24: trailing garbage, two members in one message.
#[test]
fn anything_behind_the_message_is_corrupt() {
    for encoding in coded() {
        let body = compress(encoding, &message(300)).unwrap();
        for tail in [&b"\0"[..], b"garbage garbage", &body, &compress(encoding, b"").unwrap()] {
            let body = [&body[..], tail].concat();
            assert!(
                corrupt(decompress(encoding, &body, LIMIT)),
                "{encoding} + {} bytes",
                tail.len()
            );
        }
    }
}

/// Row 24: empty body with flag 1.
#[test]
fn an_empty_body_is_corrupt() {
    for encoding in coded() {
        assert!(corrupt(decompress(encoding, b"", LIMIT)));
    }
}

/// Row 24: corrupt. No changed bit makes another message of it (a few bits of a header, and those that fill the
/// last byte, mean nothing). zstd frames carry a checksum only if their sender wished it.
#[test]
fn a_changed_bit_never_makes_another_message() {
    let text = message(300);
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        let body = compress(encoding, &text).unwrap().to_vec();
        let mut noticed = 0;
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut body = body.clone();
                body[at] ^= 1 << bit;
                match decompress(encoding, &body, LIMIT) {
                    Ok(read) => assert!(read == text, "{encoding}: byte {at}, bit {bit}"),
                    Err(_) => noticed += 1,
                }
            }
        }
        assert!(noticed > body.len() * 8 - 64, "{noticed} of {} bits", body.len() * 8);
    }
}

#[test]
fn a_gzip_header_may_hold_names_comments_and_its_own_checksum() {
    let plain = compress(Encoding::Gzip, b"hello").unwrap();
    let mut header = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 1, 2, 3, 4, 0, 3];
    header.extend_from_slice(b"\x03\x00xyzname\0comment\0");
    let mut crc = Crc::new();
    crc.update(&header);
    header.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
    let body = [&header[..], &plain[10..]].concat();
    assert_eq!(decompress(Encoding::Gzip, &body, LIMIT).unwrap(), "hello");
    for end in 0..header.len() {
        assert!(corrupt(decompress(Encoding::Gzip, &body[..end], LIMIT)));
    }
    let last = header.len() - 1;
    let mut wrong = body.clone();
    wrong[last] ^= 1;
    assert!(corrupt(decompress(Encoding::Gzip, &wrong, LIMIT)), "the header's checksum counts");
    let mut reserved = plain.to_vec();
    reserved[3] = 0x20;
    assert!(corrupt(decompress(Encoding::Gzip, &reserved, LIMIT)), "reserved flags");
}

#[test]
fn deflate_is_zlib_and_neither_gzip_nor_bare() {
    let zlib = compress(Encoding::Deflate, b"hello").unwrap();
    assert_eq!(zlib[0] & 15, 8);
    assert!(
        corrupt(decompress(Encoding::Deflate, &zlib[2..zlib.len() - 4], LIMIT)),
        "bare deflate"
    );
    let gzip = compress(Encoding::Gzip, b"hello").unwrap();
    assert!(corrupt(decompress(Encoding::Deflate, &gzip, LIMIT)));
    assert!(corrupt(decompress(Encoding::Gzip, &zlib, LIMIT)));
    // a preset dictionary, which nobody agreed on
    assert!(corrupt(decompress(Encoding::Deflate, b"\x78\xbb\0\0\0\x01\x03\0\0\0\0\x01", LIMIT)));
}

#[test]
fn random_bodies_never_panic_and_never_pass_the_limit() {
    let mut seed = 88_172_645_463_325_252u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let text = message(400);
    for encoding in coded() {
        let body = compress(encoding, &text).unwrap().to_vec();
        for _ in 0..2_000 {
            let mut body = body.clone();
            for _ in 0..random() % 6 {
                let at = random() as usize % body.len();
                match random() % 4 {
                    0 => body[at] = random() as u8,
                    1 => body[at] ^= 1 << (random() % 8),
                    2 => drop(body.drain(at..(at + 3).min(body.len()))),
                    _ => body.insert(at, random() as u8),
                }
            }
            let limit = (random() % 800) as usize;
            if let Ok(read) = decompress(encoding, &body, limit) {
                assert!(read.len() <= limit);
            }
            let noise: Vec<u8> = (0..random() % 60).map(|_| random() as u8).collect();
            let _ = decompress(encoding, &noise, limit);
        }
    }
    // and the coders still work after all that
    every_message_comes_back();
}

#[cfg(feature = "zstd")]
mod zstd_frames {
    use super::*;

    const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\x02\0\0\0ab";

    #[test]
    fn a_skippable_frame_is_no_part_of_a_message() {
        let body = compress(Encoding::Zstd, b"hello").unwrap();
        for bad in [[SKIPPABLE, &body].concat(), [&body, SKIPPABLE].concat(), SKIPPABLE.to_vec()] {
            assert!(corrupt(decompress(Encoding::Zstd, &bad, LIMIT)));
        }
    }

    #[test]
    fn a_frame_without_its_content_size_is_read_within_the_limit() {
        use std::io::Write;
        let text = message(300_000);
        let mut coder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        coder.include_checksum(true).unwrap();
        coder.write_all(&text).unwrap();
        let mut body = coder.finish().unwrap();
        assert!(decompress(Encoding::Zstd, &body, LIMIT).unwrap() == text);
        assert_eq!(decompress(Encoding::Zstd, &body, text.len()).unwrap().len(), text.len());
        let error = decompress(Encoding::Zstd, &body, text.len() - 1).unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted);
        let end = body.len();
        body[end - 1] ^= 1;
        assert!(corrupt(decompress(Encoding::Zstd, &body, LIMIT)), "the checksum counts");
    }

    #[test]
    fn a_window_over_8_mib_is_not_allocated() {
        // magic, then a header without content size: window descriptor 2^30; an empty last block
        let body = b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00";
        assert!(corrupt(decompress(Encoding::Zstd, body, LIMIT)));
        let fits = b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00";
        assert_eq!(decompress(Encoding::Zstd, fits, LIMIT).unwrap(), "");
    }
}
