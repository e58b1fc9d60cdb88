//! A meter between a scripted socket and a reader that plays `h2`; the clock is turned by hand.

mod support;

use std::time::Duration;

use super::*;
use support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_legal_conversation_passes_unchanged_wherever_it_is_cut() {
    let mut sent = hello_server();
    sent.extend(frame(HEADERS, 0x4, 1, b"block"));
    sent.extend(frame(DATA, 0, 1, b"abc"));
    sent.extend(frame(0xbe, 0x55, 1, b"who knows"));
    sent.extend(frame(PING, 0, 0, &[7; 8]));
    sent.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]));
    sent.extend(frame(DATA, 1, 1, b""));
    sent.extend(frame(HEADERS, 0, 3, b"first half"));
    sent.extend(frame(CONTINUATION, 0x4, 3, b"second"));
    for cut in 0..=sent.len() {
        let mut meter = TestMeter::server();
        meter.peer_sends(&sent[..cut]);
        let mut got = meter.read();
        meter.peer_sends(&sent[cut..]);
        got.extend(meter.read());
        assert_eq!(got, sent, "cut at {cut}");
        assert_eq!(meter.handle.close_reason(), None);
    }
}

#[test]
fn a_reader_with_a_tiny_buffer_gets_the_same_bytes() {
    let mut sent = hello_server();
    sent.extend(frame(HEADERS, 0x4, 1, b"block"));
    sent.extend(frame(DATA, 0, 1, b""));
    sent.extend(frame(DATA, 1, 1, b"payload"));
    let mut expected = hello_server();
    expected.extend(frame(HEADERS, 0x4, 1, b"block"));
    expected.extend(frame(DATA, 1, 1, b"payload"));
    for size in 1..40 {
        let mut meter = TestMeter::server();
        meter.peer_sends(&sent);
        assert_eq!(meter.read_by(size), expected, "{size} bytes at a time");
    }
}

#[test]
fn empty_data_frames_are_dropped_wherever_they_are_cut() {
    let mut sent = hello_server();
    sent.extend(frame(HEADERS, 0x4, 1, b"block"));
    let mut expected = sent.clone();
    for part in [&b"one"[..], b"", b"", b"two", b"", b"three"] {
        sent.extend(frame(DATA, 0, 1, part));
        if !part.is_empty() {
            expected.extend(frame(DATA, 0, 1, part));
        }
    }
    for cut in 0..=sent.len() {
        let mut meter = TestMeter::server();
        meter.peer_sends(&sent[..cut]);
        let mut got = meter.read();
        meter.peer_sends(&sent[cut..]);
        got.extend(meter.read());
        assert_eq!(got, expected, "cut at {cut}");
    }
}

#[test]
fn a_thousand_empty_data_frames_are_forgiven_in_ten_seconds_and_one_more_is_not() {
    let mut meter = TestMeter::server_with_call();
    for _ in 0..3 {
        meter.peer_sends(&frame(DATA, 0, 1, b"").repeat(1_000));
        assert_eq!(meter.read(), b"");
        assert_eq!(meter.handle.close_reason(), None);
        meter.advance(11 * SECOND);
    }
    meter.peer_sends(&frame(DATA, 0, 1, b"").repeat(1_001));
    meter.read();
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_empty_frames");
}

#[test]
fn floods_end_the_connection_at_their_limit_and_not_before() {
    let floods: [(Vec<u8>, usize, &str); 6] = [
        (frame(PING, 1, 0, &[0; 8]), 1_000, "too_many_pings"),
        // the first SETTINGS is the handshake's
        (frame(SETTINGS, 0, 0, b""), 99, "too_many_control_frames"),
        (frame(SETTINGS, 1, 0, b""), 99, "too_many_control_frames"),
        (frame(PRIORITY, 0, 9, &[0, 0, 0, 1, 0]), 1_000, "too_many_control_frames"),
        (frame(0xfa, 0, 9, b"?"), 1_000, "too_many_control_frames"),
        (frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 10_000, "too_many_control_frames"),
    ];
    for (one, limit, text) in &floods {
        for mut meter in [TestMeter::server(), TestMeter::client()] {
            meter.greet();
            meter.peer_sends(&one.repeat(*limit));
            assert_eq!(meter.read_all().len(), one.len() * limit);
            assert_eq!(meter.handle.close_reason(), None, "{limit} are legal");
            meter.peer_sends(one);
            assert_eq!(meter.read(), b"");
            meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, text);
        }
    }
}

#[test]
fn data_we_send_earns_the_peer_window_updates() {
    let mut meter = TestMeter::server_with_call();
    for _ in 0..100 {
        meter.write(&frame(DATA, 0, 1, b"12345"));
    }
    let update = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]);
    meter.peer_sends(&update.repeat(11_000));
    meter.read_all();
    assert_eq!(meter.handle.close_reason(), None);
    meter.peer_sends(&update);
    meter.read();
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_control_frames");
}

#[test]
fn the_third_bad_ping_closes_and_an_answer_forgives_the_first_two() {
    let ping = frame(PING, 0, 0, &[1; 8]);
    let mut meter = TestMeter::server_with_call();
    meter.peer_sends(&ping.repeat(3)); // one is free, two are bad
    meter.read();
    assert_eq!(meter.handle.close_reason(), None);
    meter.write(&frame(HEADERS, 0x4, 1, b"200"));
    meter.peer_sends(&ping.repeat(3));
    meter.read();
    assert_eq!(meter.handle.close_reason(), None, "forgiven");
    meter.advance(299 * SECOND);
    meter.peer_sends(&ping);
    meter.read();
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");
}

#[test]
fn pings_five_minutes_apart_are_good_during_a_call_and_bad_without_one() {
    let ping = frame(PING, 0, 0, &[1; 8]);
    let mut busy = TestMeter::server_with_call();
    for _ in 0..10 {
        busy.peer_sends(&ping);
        busy.read();
        busy.advance(300 * SECOND);
    }
    assert_eq!(busy.handle.close_reason(), None);

    let mut idle = TestMeter::server();
    idle.greet();
    for _ in 0..4 {
        idle.peer_sends(&ping);
        idle.read();
        idle.advance(300 * SECOND);
    }
    idle.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings");

    let mut patient = TestMeter::server();
    patient.greet();
    for _ in 0..4 {
        patient.peer_sends(&ping);
        patient.read();
        patient.advance(7_200 * SECOND);
    }
    assert_eq!(patient.handle.close_reason(), None);
}

#[test]
fn eleven_hundred_early_resets_end_the_connection_and_a_thousand_do_not() {
    let mut meter = TestMeter::server();
    meter.greet();
    for call in 0..1_100u32 {
        assert_eq!(meter.handle.close_reason(), None, "after {call}");
        meter.peer_opens_and_resets(call * 2 + 1);
    }
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_resets");
}

#[test]
fn resets_after_the_answer_began_or_after_a_second_are_no_offence() {
    let mut meter = TestMeter::server();
    meter.greet();
    for call in 0..1_050u32 {
        let id = call * 2 + 1;
        meter.peer_sends(&frame(HEADERS, 0x5, id, b"block"));
        meter.read();
        if call % 2 == 0 {
            meter.write(&frame(HEADERS, 0x4, id, b"200"));
        } else {
            meter.advance(SECOND);
        }
        meter.peer_sends(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        meter.read();
    }
    assert_eq!(meter.handle.close_reason(), None);
}

#[test]
fn half_of_the_calls_reset_early_is_still_allowed() {
    let mut meter = TestMeter::server();
    meter.greet();
    for call in 0..3_000u32 {
        let id = call * 2 + 1;
        if call % 2 == 0 {
            meter.peer_sends(&frame(HEADERS, 0x5, id, b"block"));
            meter.read();
            meter.write(&frame(HEADERS, 0x5, id, b"200"));
        } else {
            meter.peer_opens_and_resets(id);
        }
    }
    assert_eq!(meter.handle.close_reason(), None);
    for call in 3_000..3_600u32 {
        meter.peer_opens_and_resets(call * 2 + 1);
    }
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_resets");
}

#[test]
fn stream_errors_the_peer_provokes_are_limited_and_refusals_are_not() {
    let mut meter = TestMeter::server_with_call();
    for code in [0u8, 7, 8] {
        for _ in 0..300 {
            meter.write(&frame(RST_STREAM, 0, 1, &[0, 0, 0, code]));
        }
    }
    for _ in 0..200 {
        meter.write(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 3]));
    }
    assert_eq!(meter.handle.close_reason(), None);
    meter.write(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 3]));
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_error_resets");
}

#[test]
fn a_split_reset_frame_is_counted_like_a_whole_one() {
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 3]);
    for cut in 1..reset.len() {
        let mut meter = TestMeter::server_with_call();
        for _ in 0..201 {
            meter.write(&reset[..cut]);
            meter.write(&reset[cut..]);
        }
        meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "too_many_error_resets");
    }
}

#[test]
fn broken_frames_get_the_code_of_rfc_9113_and_a_text_that_names_them() {
    use ErrorCode as E;
    let to_a_server: Vec<(Vec<u8>, E, &str)> = vec![
        (frame(DATA, 0, 1, &vec![0; 16_385]), E::FRAME_SIZE_ERROR, "DATA"),
        (frame(HEADERS, 0x24, 3, b"abcd"), E::FRAME_SIZE_ERROR, "HEADERS"),
        (frame(PRIORITY, 0, 1, b"1234"), E::FRAME_SIZE_ERROR, "PRIORITY"),
        (frame(RST_STREAM, 0, 1, b"123"), E::FRAME_SIZE_ERROR, "RST_STREAM"),
        (frame(SETTINGS, 0, 0, b"12345"), E::FRAME_SIZE_ERROR, "SETTINGS"),
        (frame(SETTINGS, 1, 0, b"123456"), E::FRAME_SIZE_ERROR, "SETTINGS"),
        (frame(PING, 0, 0, b"1234567"), E::FRAME_SIZE_ERROR, "PING"),
        (frame(GOAWAY, 0, 0, b"1234567"), E::FRAME_SIZE_ERROR, "GOAWAY"),
        (frame(WINDOW_UPDATE, 0, 0, b"12345"), E::FRAME_SIZE_ERROR, "WINDOW_UPDATE"),
        (setting(4, 0x8000_0000), E::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE"),
        (setting(5, 16_383), E::PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
        (setting(5, 16_777_216), E::PROTOCOL_ERROR, "MAX_FRAME_SIZE"),
        (setting(2, 2), E::PROTOCOL_ERROR, "ENABLE_PUSH"),
        (frame(HEADERS, 0x4, 2, b""), E::PROTOCOL_ERROR, "HEADERS"),
        (frame(HEADERS, 0x4, 0, b""), E::PROTOCOL_ERROR, "HEADERS"),
        (frame(DATA, 0, 0, b"x"), E::PROTOCOL_ERROR, "DATA"),
        (frame(DATA, 0, 3, b"x"), E::PROTOCOL_ERROR, "stream 3"),
        (frame(RST_STREAM, 0, 3, &[0; 4]), E::PROTOCOL_ERROR, "stream 3"),
        (frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]), E::PROTOCOL_ERROR, "stream 3"),
        (frame(SETTINGS, 0, 1, b""), E::PROTOCOL_ERROR, "SETTINGS"),
        (frame(PING, 0, 1, &[0; 8]), E::PROTOCOL_ERROR, "PING"),
        (frame(PRIORITY, 0, 0, &[0; 5]), E::PROTOCOL_ERROR, "PRIORITY"),
        (frame(CONTINUATION, 0, 1, b""), E::PROTOCOL_ERROR, "CONTINUATION"),
        (frame(PUSH_PROMISE, 0, 1, &[0; 8]), E::PROTOCOL_ERROR, "PUSH_PROMISE"),
        (
            [frame(HEADERS, 0, 3, b"a"), frame(PING, 0, 0, &[0; 8])].concat(),
            E::PROTOCOL_ERROR,
            "PING",
        ),
        (
            [frame(HEADERS, 0, 3, b"a"), frame(CONTINUATION, 4, 5, b"")].concat(),
            E::PROTOCOL_ERROR,
            "stream 5",
        ),
        (
            [frame(HEADERS, 0x4, 7, b"a"), frame(HEADERS, 0x4, 3, b"a")].concat(),
            E::PROTOCOL_ERROR,
            "stream 3",
        ),
    ];
    for (bytes, code, text) in &to_a_server {
        for cut in (0..bytes.len().min(40)).chain([bytes.len()]) {
            let mut meter = TestMeter::server_with_call();
            meter.peer_sends(&bytes[..cut]);
            meter.read();
            meter.peer_sends(&bytes[cut..]);
            meter.read();
            meter.expect_goaway(*code, text);
        }
    }
}

#[test]
fn a_client_refuses_pushes_and_frames_on_streams_it_never_opened() {
    for (bytes, text) in [
        (frame(PUSH_PROMISE, 0x4, 1, &[0, 0, 0, 2]), "PUSH_PROMISE"),
        (frame(HEADERS, 0x4, 3, b"200"), "stream 3"),
        (frame(HEADERS, 0x4, 2, b"200"), "stream 2"),
        (frame(DATA, 0, 3, b"200"), "stream 3"),
    ] {
        let mut meter = TestMeter::client_with_call();
        meter.peer_sends(&bytes);
        assert_eq!(meter.read(), b"");
        meter.expect_goaway(ErrorCode::PROTOCOL_ERROR, text);
    }
}

#[test]
fn ten_thousand_informational_answers_are_legal() {
    let mut meter = TestMeter::client_with_call();
    let early_hints = frame(HEADERS, 0x4, 1, b"103");
    meter.peer_sends(&early_hints.repeat(10_000));
    assert_eq!(meter.read_all().len(), early_hints.len() * 10_000);
    assert_eq!(meter.handle.close_reason(), None);
}

#[test]
fn junk_instead_of_the_preface_ends_the_connection() {
    for junk in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSX", "\0"] {
        let mut meter = TestMeter::server();
        meter.peer_sends(junk.as_bytes());
        meter.read();
        assert!(meter.at_end());
        assert_eq!(meter.handle.close_reason().map(|r| r.code), Some(ErrorCode::PROTOCOL_ERROR));
    }
}

#[test]
fn the_first_frame_must_be_settings() {
    let mut meter = TestMeter::server();
    meter.peer_sends(
        &[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(PING, 0, 0, &[0; 8])].concat(),
    );
    meter.read();
    assert!(meter.at_end());
}

#[test]
fn a_header_block_has_ten_seconds() {
    let mut meter = TestMeter::server();
    meter.greet();
    assert_eq!(meter.handle.next_deadline(), None);
    meter.peer_sends(&frame(HEADERS, 0, 1, b"slow"));
    meter.read();
    let due = meter.now() + 10 * SECOND;
    assert_eq!(meter.handle.next_deadline(), Some(due));
    meter.advance(9 * SECOND);
    assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Fine);
    meter.peer_sends(&frame(CONTINUATION, 0, 1, b"slower"));
    meter.read();
    meter.advance(SECOND);
    assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Closing);
    assert_eq!(meter.read(), b"");
    meter.expect_goaway(ErrorCode::ENHANCE_YOUR_CALM, "header_timeout");

    let mut quick = TestMeter::server();
    quick.greet();
    quick.peer_sends(&frame(HEADERS, 0, 1, b"quick"));
    quick.read();
    quick.peer_sends(&frame(CONTINUATION, 0x4, 1, b"enough"));
    quick.read();
    assert_eq!(quick.handle.next_deadline(), None);
}

#[test]
fn a_peer_that_says_nothing_or_half_a_preface_is_cut_after_twenty_seconds() {
    for said in ["", "PRI * HTT"] {
        let mut meter = TestMeter::server();
        meter.peer_sends(said.as_bytes());
        meter.read();
        meter.advance(19 * SECOND);
        assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Fine);
        meter.advance(SECOND);
        assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Closing);
        assert!(meter.read_error().contains("SETTINGS"));
    }
}

#[test]
fn a_socket_that_takes_no_byte_for_a_minute_is_cut() {
    let mut meter = TestMeter::server_with_call();
    meter.room(4);
    let data = frame(DATA, 0, 1, b"0123456789");
    assert_eq!(meter.try_write(&data), Some(4));
    assert_eq!(meter.try_write(&data[4..]), None);
    meter.advance(59 * SECOND);
    meter.room(1);
    assert_eq!(meter.try_write(&data[4..]), Some(1)); // one byte starts the minute anew
    assert_eq!(meter.try_write(&data[5..]), None);
    meter.advance(59 * SECOND);
    assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Fine);
    meter.advance(SECOND);
    assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Closing);
    assert!(meter.read_error().contains("took no byte"));
}

#[test]
fn a_goaway_from_above_never_cuts_a_frame_in_half() {
    let data = frame(DATA, 0, 1, b"0123456789");
    let next = frame(DATA, 0, 1, b"never seen");
    for accepted in 0..=data.len() {
        let mut meter = TestMeter::server_with_call();
        let before = meter.sent().len();
        meter.room(accepted);
        let mut offered = [data.clone(), next.clone()].concat();
        if let Some(n) = meter.try_write(&offered) {
            offered.drain(..n);
        }
        meter.handle.go_away(ErrorCode::NO_ERROR, "max_age", Some(1));
        meter.read();
        meter.room(usize::MAX);
        while !offered.is_empty() {
            let n = meter.try_write(&offered).unwrap_or_default();
            offered.drain(..n);
        }
        assert!(meter.at_end());
        let sent = meter.sent().split_off(before);
        let goaway = frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0max_age");
        let expected = if accepted == 0 { goaway } else { [data.clone(), goaway].concat() };
        assert_eq!(sent, expected, "{accepted} bytes were out");
    }
}

#[test]
fn a_goaway_that_finds_no_room_gives_up_after_five_seconds() {
    let mut meter = TestMeter::server_with_call();
    meter.room(0);
    meter.handle.go_away(ErrorCode::INTERNAL_ERROR, "enough", None);
    meter.read();
    assert_eq!(meter.handle.next_deadline(), Some(meter.now() + 5 * SECOND));
    meter.advance(5 * SECOND);
    assert_eq!(meter.handle.handle_time(meter.now()), Verdict::Closing);
    assert!(meter.read_error().contains("enough"));
}

#[test]
fn h2s_own_goaway_gets_the_text_from_above_wherever_it_is_cut() {
    let goaway = frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let ping = frame(PING, 0, 0, &[1; 8]);
    let offered = [ping.clone(), goaway.clone(), ping.clone()].concat();
    let expected =
        [ping.clone(), frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0max_age"), ping].concat();
    for cut in 0..offered.len() {
        let mut meter = TestMeter::server_with_call();
        let before = meter.sent().len();
        meter.handle.set_goaway_text("max_age");
        meter.write(&offered[..cut]);
        meter.write(&offered[cut..]);
        meter.flush();
        assert_eq!(meter.sent().split_off(before), expected, "cut at {cut}");
    }
}

#[test]
fn h2s_error_goaway_says_which_frame_came_last() {
    let mut meter = TestMeter::client_with_call();
    meter.peer_sends(&frame(HEADERS, 0x4, 1, b"\x88"));
    meter.read();
    meter.write(&frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]));
    let reason = meter.handle.close_reason().expect("a reason");
    assert_eq!((reason.by, reason.code), (ClosedBy::Us, ErrorCode::PROTOCOL_ERROR));
    assert!(reason.text.contains("HEADERS frame"), "{reason}");
}

#[test]
fn a_block_that_is_no_hpack_is_told_from_one_with_wrong_fields() {
    let broken: [&[u8]; 9] = [
        b"\x80",                     // index 0
        b"\xbe",                     // an index into an empty table
        b"\xff\x80\x80\x10",         // a huge one
        b"\xff\xff\xff\xff\xff\xff", // without end
        b"\x00\x81\x00\x01v",        // Huffman: padded with zeros
        b"\x00\x01a\x82\xff\xff",    // padded by a whole byte
        b"\x00\x01a\x84\xff\xff\xff\xff",
        b"\x3f\xe1\xff\x03", // a table of 64 KiB
        b"\x82\x20",         // a table size after a field
    ];
    let fine: [&[u8]; 4] =
        [b"\x82\x86\x84", b"\x40\x01a\x01b\xbe", b"\x00\x03X-A\x01v", b"\x00\x01a\x82\x1f\x1f"];
    let all = broken.iter().map(|block| (block, 9)).chain(fine.iter().map(|block| (block, 1)));
    for (block, code) in all {
        let mut meter = TestMeter::server();
        meter.greet();
        let padded = [&[3], *block, &[0; 3]].concat();
        meter.peer_sends(&frame(HEADERS, 0x4 | 0x8, 1, &padded));
        meter.read();
        meter.write(&frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]));
        let reason = meter.handle.close_reason().expect("a reason");
        assert_eq!(reason.code, ErrorCode(code), "{block:x?}: {reason}");
        assert!(reason.text.contains("HEADERS"), "{reason}");
    }
}

#[test]
fn a_block_that_is_still_on_its_way_is_not_blamed() {
    let mut meter = TestMeter::server();
    meter.greet();
    meter.peer_sends(&frame(HEADERS, 0x4, 1, b"\x82\x86\x84"));
    meter.peer_sends(&frame(HEADERS, 0x4, 3, b"\x00\x04name\x05value")[..14]);
    meter.read();
    meter.write(&frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(
        meter.handle.close_reason().map(|reason| reason.code),
        Some(ErrorCode::PROTOCOL_ERROR)
    );
}

#[test]
fn vectored_writes_are_followed_across_their_slices() {
    let mut meter = TestMeter::server_with_call();
    let before = meter.sent().len();
    let bytes = [
        frame(HEADERS, 0x4, 1, b"200"),
        frame(DATA, 0, 1, &[7; 300]),
        frame(HEADERS, 0x5, 1, b"ok"),
    ]
    .concat();
    for (a, b) in
        (0..=bytes.len()).step_by(7).flat_map(|a| (a..=bytes.len()).step_by(5).map(move |b| (a, b)))
    {
        let sent_before = meter.sent().len();
        meter.write_vectored(&[&bytes[..a], &bytes[a..b], &bytes[b..]]);
        assert_eq!(&meter.sent()[sent_before..], bytes, "slices end at {a} and {b}");
    }
    let counts = meter.handle.counts();
    assert_eq!(counts.headers_out, counts.data_out * 2);
    assert_eq!((meter.sent().len() - before) % bytes.len(), 0);
}

#[test]
fn what_the_peer_says_about_itself_is_kept_for_the_owner() {
    let mut meter = TestMeter::client_with_call();
    let mut settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 7, 0, 6, 0, 0, 64, 0]);
    settings.extend(frame(GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\x0btoo_many_pings"));
    for byte in settings {
        meter.peer_sends(&[byte]);
        meter.read();
    }
    let known = meter.handle.peer_settings().expect("settings");
    assert_eq!((known.max_concurrent_streams, known.max_header_list_size), (Some(7), Some(16_384)));
    let goaway = meter.handle.received_goaway().expect("goaway");
    assert_eq!(goaway.last_stream_id, 5);
    assert_eq!(goaway.to_string(), "GOAWAY ENHANCE_YOUR_CALM (too_many_pings)");
    meter.peer_closes();
    assert!(meter.at_end());
    let reason = meter.handle.close_reason().expect("a reason").to_string();
    assert!(reason.contains("too_many_pings"), "{reason}");
}

#[test]
fn a_goaway_is_read_even_if_writing_failed_before() {
    let mut meter = TestMeter::client_with_call();
    meter.peer_sends(&frame(GOAWAY, 0, 0, &[0; 8]));
    meter.peer_vanishes();
    meter.write(&frame(DATA, 1, 1, b"into the void"));
    meter.flush();
    assert_eq!(meter.read(), frame(GOAWAY, 0, 0, &[0; 8]));
    assert!(meter.at_end());
    assert_eq!(meter.handle.received_goaway().map(|goaway| goaway.last_stream_id), Some(0));
    let reason = meter.handle.close_reason().expect("a reason").to_string();
    assert!(reason.contains("broken pipe"), "{reason}");
}

#[test]
fn a_closing_server_swallows_what_still_comes_until_the_peer_closes_or_half_a_second_passed() {
    let mut meter = TestMeter::server_with_call();
    meter.peer_sends(&frame(PING, 0, 9, &[0; 8]));
    meter.read();
    assert!(meter.at_end());
    meter.peer_sends(&[0; 10_000]);
    assert!(!meter.shutdown(), "the peer has not closed");
    meter.peer_closes();
    assert!(meter.shutdown());

    let mut silent = TestMeter::server_with_call();
    silent.peer_sends(&frame(PING, 0, 9, &[0; 8]));
    silent.read();
    assert!(!silent.shutdown());
    silent.advance(Duration::from_millis(500));
    silent.handle.handle_time(silent.now());
    assert!(silent.shutdown());
}

#[test]
fn a_peer_that_sends_without_end_lets_others_run() {
    let mut meter = TestMeter::server_with_call();
    meter.peer_sends(&frame(DATA, 0, 1, &[7; 1_000]).repeat(1_000));
    let mut turns = Vec::new();
    while turns.iter().sum::<usize>() < 1_009_000 {
        turns.push(meter.read().len());
    }
    assert!(turns.iter().all(|bytes| *bytes <= 132 << 10), "{turns:?}");
}

#[test]
fn random_bytes_never_panic_and_mean_the_same_in_any_pieces() {
    let mut random = Random(0x5eed);
    for round in 0..3_000 {
        let bytes = random.frames();
        let mut whole = TestMeter::server_with_call();
        whole.peer_sends(&bytes);
        let expected = whole.read();
        let mut pieces = TestMeter::server_with_call();
        let (mut got, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(random.below(40).min(rest.len() - 1) + 1);
            pieces.peer_sends(piece);
            got.extend(pieces.read());
            rest = later;
        }
        assert_eq!(pieces.handle.close_reason(), whole.handle.close_reason(), "round {round}");
        if whole.handle.close_reason().is_none() {
            assert_eq!(got, expected, "round {round}");
        } else {
            // of a refused frame, the pieces before the refusal may have passed; never a byte after it
            assert!(got.starts_with(&expected), "round {round}");
        }
        // and the same bytes on the way out
        let mut out = TestMeter::server_with_call();
        let before = out.sent().len();
        out.write(&bytes);
        out.flush();
        assert!(out.sent().len() >= before);
    }
}
