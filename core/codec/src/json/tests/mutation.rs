//! Broken text by the thousand: whatever comes in, a message or an error comes out, and a message prints and reads back.

use super::*;

const SEEDS: [&str; 8] = [
    r#"{"i32":-1,"i64":"9223372036854775807","u32":1e2,"db":1.5e-7,"fl":"NaN","b":true,"s":"a\u00e9\n😀","by":"AQI="}"#,
    r#"{"e":"ONE","m":{"m":{"ints":[1,2,3.0]}},"strs":["","\ud83d\ude00"],"ms":[{},{"i32":1}],"es":["ZERO",1]}"#,
    r#"{"mii":{"-1":1,"2":2},"msm":{"a":{"b":false}},"mbb":{"true":true},"mis":{"-5":"AA"},"mff":{"1":0.5}}"#,
    r#"{"any":{"@type":"a/t.M","i32":1,"any":{"@type":"a/google.protobuf.Duration","value":"1.5s"}},"onull":null}"#,
    r#"{"ts":"2024-02-29T12:30:45.123Z","dur":"-1.5s","mask":"fooBar.baz,x","empty":{},"nulls":[null]}"#,
    r#"{"st":{"a":[1,null,{"b":"c"}],"d":{}},"val":[[],{}],"list":[1,"x"],"vals":[null,true]}"#,
    r#"{"wi64":"0","wd":1e300,"ws":"","wb":false,"wby":"-_","wis":[1],"oi":0}"#,
    " {\n\t\"two_words\" : \"x\" , \"other\\\"name\" : \"y\" , \"optInt\" : 0 }\r\n",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

#[test]
fn no_text_makes_the_reader_panic_and_what_it_reads_it_can_print() {
    const BYTES: &[u8] = b"{}[]\",:\\/0123456789-+.eEtfnu \n\x00\x01\x7f_@svxNI";
    let (types, mut random) = (
        [three(), two(), schema().message("google.protobuf.Value").unwrap()],
        Random(0x2545_f491_4f6c_dd1d),
    );
    let (mut read, mut broken) = (0, 0);
    for round in 0..40_000 {
        let mut text = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            if text.is_empty() {
                break;
            }
            let at = random.below(text.len());
            match random.below(6) {
                0 => text[at] = BYTES[random.below(BYTES.len())],
                1 => text.insert(at, BYTES[random.below(BYTES.len())]),
                2 => drop(text.remove(at)),
                3 => text.truncate(at.max(1)),
                4 => {
                    // a piece of another seed
                    let other = SEEDS[random.below(SEEDS.len())].as_bytes();
                    let from = random.below(other.len());
                    let to = from + random.below(other.len() - from);
                    text.splice(at..at, other[from..to].iter().copied());
                }
                _ => {
                    let to = at + random.below(text.len() - at);
                    let piece = text[at..to].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        let text = String::from_utf8_lossy(&text);
        let options = JsonParseOptions::new().ignore_unknown_fields(round % 3 == 0);
        match types[round % types.len()].from_json_with(&text, &options) {
            Err(e) => {
                broken += 1;
                assert!(e.line() > 0 && e.column() > 0 && !e.to_string().is_empty());
                assert!(e.offset() <= text.len());
            }
            Ok(message) => {
                read += 1;
                let printed = message.to_json().unwrap_or_else(|e| panic!("{text}: {e}"));
                let back = message
                    .message_type()
                    .from_json(&printed)
                    .unwrap_or_else(|e| panic!("{printed}: {e}"));
                // NaN is not equal to itself, its text is
                assert_eq!(back.to_json().unwrap(), printed, "{text}");
            }
        }
    }
    assert!(read > 2_000 && broken > 2_000, "{read} read, {broken} broken");
}

#[test]
fn every_prefix_of_a_text_is_an_error_and_nothing_else() {
    for seed in SEEDS {
        let seed = seed.trim();
        for at in (0..seed.len()).filter(|&at| seed.is_char_boundary(at)) {
            assert!(three().from_json(&seed[..at]).is_err(), "{}", &seed[..at]);
        }
    }
}

#[test]
fn random_bytes_that_decode_print_and_read_back() {
    let (ty, mut random) = (three(), Random(0x9e37_79b9_7f4a_7c15));
    let seeds: Vec<Vec<u8>> =
        SEEDS.iter().map(|s| ty.from_json(s).unwrap().encode().unwrap().to_vec()).collect();
    let mut printed = 0;
    for _ in 0..20_000 {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            if let Some(b) = bytes.get_mut(at) {
                *b = random.below(256) as u8;
            }
        }
        let Ok(message) = ty.decode(bytes) else { continue };
        // a field mask or date may have become unprintable
        let Ok(text) = message.to_json() else { continue };
        let options = JsonParseOptions::new();
        let back = ty.from_json_with(&text, &options).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(back.to_json().unwrap(), text);
        printed += 1;
    }
    assert!(printed > 1_000, "{printed}");
}
