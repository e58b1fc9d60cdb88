//! Our client and our server joined in memory, the clock turned by hand: whole calls of every kind.

use std::collections::VecDeque;

use http::Method;

use super::super::*;
use super::*;
use crate::compression::Encoding;
use crate::frame::FrameBytes;
use crate::status::{Code, Status};

/// What travels on a stream.
enum Piece {
    Headers(HeaderMap),
    Data(Bytes),
    /// END_STREAM without a block.
    End,
    Trailers(HeaderMap),
    Reset(u32),
}

/// A client and a server stream with a wire between them that cuts data into pieces of `cut` bytes.
struct Pair {
    client: ClientStream,
    server: ServerStream,
    up: VecDeque<Piece>,
    down: VecDeque<Piece>,
    cut: usize,
    /// A block with END_STREAM goes next.
    only: bool,
    heard: Vec<ServerEvent>,
    told: Vec<ClientEvent>,
}

impl Pair {
    fn new(kind: MethodKind, encoding: Encoding, cut: usize) -> Pair {
        let options = ClientStreamOptions {
            kind,
            encoding,
            deadline: Some(at(100)),
            ..ClientStreamOptions::default()
        };
        let head = RequestHead {
            timeout: Some(100 * MS),
            encoding,
            metadata: &metadata(&[("x-id", "7")]),
            user_agent: &HeaderValue::from_static("stubless/0.1"),
            previous_attempts: 0,
        };
        let incoming = IncomingHead {
            method: Method::POST,
            path: Bytes::from_static(b"/greet.Greeter/Hello"),
            authority: Some("localhost".into()),
            headers: request_headers(&head),
        };
        let Accepted::Call(head) = accept(incoming, &ServerLimits::default()) else { panic!() };
        let server = ServerStreamOptions {
            deadline: head.timeout.map(|timeout| Time::ZERO + timeout),
            compression: Some(encoding),
            ..ServerStreamOptions::default()
        };
        Pair {
            client: ClientStream::new(options),
            server: ServerStream::new(&head, kind, server),
            up: VecDeque::new(),
            down: VecDeque::new(),
            cut,
            only: false,
            heard: Vec::new(),
            told: Vec::new(),
        }
    }

    fn cut(frame: FrameBytes, cut: usize, wire: &mut VecDeque<Piece>) {
        let (head, tail) = frame.into_parts();
        for part in [head, tail] {
            let mut at = 0;
            while at < part.len() {
                let end = (at + cut).min(part.len());
                wire.push_back(Piece::Data(part.slice(at..end)));
                at = end;
            }
        }
    }

    fn ask(&mut self, text: &str) {
        let frame =
            self.client.encode_message(Bytes::copy_from_slice(text.as_bytes()), true).unwrap();
        Pair::cut(frame, self.cut, &mut self.up);
    }

    fn half_close(&mut self) {
        self.client.half_close();
        self.up.push_back(Piece::End);
    }

    fn answer(&mut self, text: &str) {
        if let Some(block) = self.server.send_headers(&metadata(&[("x-initial", "1")])) {
            self.down.push_back(Piece::Headers(block));
        }
        let frame =
            self.server.encode_message(Bytes::copy_from_slice(text.as_bytes()), true).unwrap();
        Pair::cut(frame, self.cut, &mut self.down);
    }

    fn finish(&mut self, status: &Status) {
        match self.server.finish(status, &metadata(&[("x-trailing", "2")]), &Metadata::new()) {
            Finish::TrailersOnly(block) => {
                self.only = true;
                self.down.push_back(Piece::Headers(block));
            }
            Finish::Trailers(block) => self.down.push_back(Piece::Trailers(block)),
            Finish::HeadersAndTrailers { .. } | Finish::AlreadyEnded => panic!("nothing to send"),
        }
        if let Some(code) = self.server.wants_reset() {
            self.down.push_back(Piece::Reset(code));
        }
    }

    /// Carries everything that is under way, and collects what both sides hear.
    fn drive(&mut self, now: Time) {
        if let Some(code) = self.client.wants_reset() {
            self.up.push_back(Piece::Reset(code));
        }
        while let Some(piece) = self.up.pop_front() {
            match piece {
                Piece::Data(data) => self.server.handle_data(data),
                Piece::End => self.server.handle_end(),
                Piece::Reset(code) => self.server.handle_reset(code),
                Piece::Headers(_) | Piece::Trailers(_) => panic!("no blocks go up"),
            }
            self.heard.extend(std::iter::from_fn(|| self.server.poll_event()));
        }
        while let Some(piece) = self.down.pop_front() {
            match piece {
                Piece::Headers(block) => self.client.handle_headers(200, block, self.only),
                Piece::Data(data) => self.client.handle_data(data),
                Piece::Trailers(block) => self.client.handle_trailers(block),
                Piece::End => self.client.handle_end(),
                Piece::Reset(code) => self.client.handle_reset(code, now),
            }
            self.told.extend(std::iter::from_fn(|| self.client.poll_event()));
        }
    }
}

fn heard(text: &str) -> ServerEvent {
    ServerEvent::Message(Bytes::copy_from_slice(text.as_bytes()))
}

fn told(text: &str) -> ClientEvent {
    ClientEvent::Message(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn calls_of_every_kind_in_every_coding_over_a_wire_that_cuts_anywhere() {
    let kinds = [
        (MethodKind::UNARY, 1, 1),
        (MethodKind::CLIENT_STREAMING, 3, 1),
        (MethodKind::SERVER_STREAMING, 1, 3),
        (MethodKind::BIDI_STREAMING, 3, 3),
    ];
    let texts = ["Ada".to_owned(), "hello, hello, ".repeat(700), String::new()];
    for (kind, requests, responses) in kinds {
        for &encoding in Encoding::ALL {
            for cut in [1, 4, 5, 6, 100, 100_000] {
                let mut pair = Pair::new(kind, encoding, cut);
                for text in &texts[..requests] {
                    pair.ask(text);
                }
                pair.half_close();
                pair.drive(at(1));
                let mut expected: Vec<_> =
                    texts[..requests].iter().map(|text| heard(text)).collect();
                expected.push(ServerEvent::HalfClosed);
                assert_eq!(pair.heard, expected, "{kind:?} {encoding} {cut}");

                for text in &texts[..responses] {
                    pair.answer(text);
                }
                pair.finish(&Status::ok());
                pair.drive(at(2));
                let (first, rest) = pair.told.split_first().unwrap();
                assert_eq!(*first, ClientEvent::Headers(metadata(&[("x-initial", "1")])));
                let (last, messages) = rest.split_last().unwrap();
                let ClientEvent::Status(status, trailers) = last else { panic!("{last:?}") };
                assert_eq!(
                    (status.code(), trailers),
                    (Code::Ok, &metadata(&[("x-trailing", "2")]))
                );
                let expected: Vec<_> = texts[..responses].iter().map(|text| told(text)).collect();
                assert_eq!(messages, expected);
                assert_eq!(pair.client.wants_reset(), None);
            }
        }
    }
}

#[test]
fn a_status_with_text_and_details_arrives_as_it_was_given() {
    let text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    for details in [&b""[..], b"\x08\x02\x12\x01x"] {
        let mut pair = Pair::new(MethodKind::UNARY, Encoding::Identity, 100);
        let status = Status::new(Code::Unknown, text).with_details(Bytes::from_static(details));
        pair.finish(&status);
        pair.drive(at(1));
        let [ClientEvent::Status(told, trailers)] = &pair.told[..] else {
            panic!("{:?}", pair.told)
        };
        assert_eq!(
            (told.code(), told.message(), &told.details()[..]),
            (Code::Unknown, text, details)
        );
        assert_eq!(*trailers, metadata(&[("x-trailing", "2")]));
    }
}

#[test]
fn a_silent_server_costs_the_client_its_deadline_and_no_more() {
    let mut pair = Pair::new(MethodKind::UNARY, Encoding::Identity, 100);
    pair.ask("Ada");
    pair.half_close();
    pair.drive(at(1));
    pair.client.handle_time(at(100)); // the server read the message and never answers
    pair.drive(at(100));
    assert_eq!(pair.client.status().map(Status::code), Some(Code::DeadlineExceeded));
    let [message, ServerEvent::HalfClosed, ServerEvent::Cancelled(why)] = &pair.heard[..] else {
        panic!("{:?}", pair.heard)
    };
    assert_eq!((message, why.code()), (&heard("Ada"), Code::Cancelled));
}

#[test]
fn a_cancel_by_the_client_reaches_the_handler_and_not_as_a_half_close() {
    let mut pair = Pair::new(MethodKind::BIDI_STREAMING, Encoding::Identity, 100);
    pair.ask("Ada");
    pair.drive(at(1));
    pair.client.end(Status::new(Code::Cancelled, "changed my mind"));
    pair.drive(at(2));
    let [_, ServerEvent::Cancelled(why)] = &pair.heard[..] else { panic!("{:?}", pair.heard) };
    assert_eq!(why.code(), Code::Cancelled);
    let Some(ClientEvent::Status(status, _)) = pair.client.poll_event() else { panic!() };
    assert_eq!(status, Status::new(Code::Cancelled, "changed my mind"));
}

#[test]
fn the_same_deadline_on_both_sides_is_told_as_the_deadline_whoever_is_first() {
    for server_first in [false, true] {
        let mut pair = Pair::new(MethodKind::SERVER_STREAMING, Encoding::Identity, 100);
        pair.ask("Ada");
        pair.half_close();
        pair.drive(at(1));
        if server_first {
            pair.server.handle_time(at(100));
            assert!(matches!(pair.server.poll_event(), Some(ServerEvent::Cancelled(_))));
            pair.finish(&Status::ok());
        } else {
            pair.client.handle_time(at(100));
        }
        pair.drive(at(100));
        pair.told.extend(std::iter::from_fn(|| pair.client.poll_event()));
        let [ClientEvent::Status(status, _)] = &pair.told[..] else { panic!("{:?}", pair.told) };
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
