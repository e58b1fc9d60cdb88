//! The text itself: RFC 8259, to the letter.

use super::*;
use JsonErrorKind::Syntax;

#[test]
fn what_is_not_json_is_refused() {
    all_refused(
        &three(),
        Syntax,
        &[
            "",
            " ",
            "{",
            "}",
            "{]",
            r#"{"i32"}"#,
            r#"{"i32":}"#,
            r#"{"i32":1"#,
            r#"{"i32":1,}"#,
            r#"{,"i32":1}"#,
            r#"{"i32":1 "u32":1}"#,
            r#"{"i32":1;"u32":1}"#,
            r#"{i32:1}"#,
            r#"{'i32':1}"#,
            r#"{"s":'a'}"#,
            r#"{"i32":1}x"#,
            r#"{"i32":1}{}"#,
            r#"{} // no"#,
            r#"/* no */ {}"#,
            r#"{"ints":[1,]}"#,
            r#"{"ints":[,1]}"#,
            r#"{"ints":[1 2]}"#,
            r#"{"ints":[1}"#,
            r#"{"i32":01}"#,
            r#"{"i32":-}"#,
            r#"{"i32":+1}"#,
            r#"{"i32":1.}"#,
            r#"{"i32":.5}"#,
            r#"{"i32":1e}"#,
            r#"{"i32":1e+}"#,
            r#"{"i32":0x10}"#,
            r#"{"i32":--1}"#,
            r#"{"b":True}"#,
            r#"{"b":tru}"#,
            r#"{"b":truee}"#,
            r#"{"i32":nul}"#,
            r#"{"m":nulll}"#,
            "\u{feff}{}",
            "{}\u{feff}",
            "{\u{a0}}",
            "{}\0",
            "\0",
            "{\u{c}}",
        ],
    );
}

#[test]
fn white_space_is_space_tab_and_line_ends() {
    becomes(
        &three(),
        &[(
            " \t\r\n{ \"i32\" \n:\t1 , \"ints\" : [ 1 ,\r2 ] , \"m\" : { } , \"mii\" : { } , \"ms\" : [ ] } \n",
            r#"{"i32":1,"m":{},"ints":[1,2]}"#,
        )],
    );
}

#[test]
fn strings_are_unescaped_and_escaped() {
    becomes(
        &three(),
        &[
            (r#"{"s":"\"\\\/\b\f\n\r\t"}"#, r#"{"s":"\"\\/\b\f\n\r\t"}"#),
            (r#"{"s":"\u0041\u00e9\u20ac"}"#, r#"{"s":"Aé€"}"#),
            (
                r#"{"s":"\ud83d\uDE00 and plain text behind it"}"#,
                r#"{"s":"😀 and plain text behind it"}"#,
            ),
            (r#"{"s":"\u0000\u001f\u007f"}"#, "{\"s\":\"\\u0000\\u001f\u{7f}\"}"),
            (r#"{"s":"\u2028 <a href='x'>"}"#, "{\"s\":\"\u{2028} <a href='x'>\"}"),
            (r#"{"s":"\uffff"}"#, "{\"s\":\"\u{ffff}\"}"),
        ],
    );
}

#[test]
fn broken_strings_are_refused() {
    all_refused(
        &three(),
        Syntax,
        &[
            r#"{"s":"a"#,
            r#"{"s":"a\"#,
            r#"{"s":"\"#,
            r#"{"s":"\u"#,
            r#"{"s":"\u00"#,
            r#"{"s":"\x41"}"#,
            r#"{"s":"\u00g0"}"#,
            r#"{"s":"\u+123"}"#,
            r#"{"s":"\a"}"#,
            r#"{"s":"\'"}"#,
            r#"{"s":"\U0041"}"#,
            "{\"s\":\"a\nb\"}",
            "{\"s\":\"a\tb\"}",
            "{\"s\":\"\0\"}",
            "{\"s\":\"eight by\u{1}tes\"}",
            // halves of pairs, in every arrangement
            r#"{"s":"\ud800"}"#,
            r#"{"s":"\udc00"}"#,
            r#"{"s":"\ud800a"}"#,
            r#"{"s":"\ud800\n"}"#,
            r#"{"s":"\ud800\u0041"}"#,
            r#"{"s":"\ud800\ud800"}"#,
            r#"{"s":"\udc00\ud800"}"#,
            r#"{"\ud800":1}"#,
        ],
    );
}

#[test]
fn quotes_and_escapes_are_found_at_every_distance() {
    let ty = three();
    for before in 0..20 {
        for after in 0..20 {
            for odd in ["\"", "\\", "\n", "\u{1}", "é", "\u{7f}"] {
                let text = format!("{}{odd}{}", "x".repeat(before), "é".repeat(after));
                let mut message = ty.new_message();
                message.set_by_name("s", &text).unwrap();
                let json = message.to_json().unwrap();
                assert_eq!(ty.from_json(&json).unwrap(), message, "{json}");
            }
        }
    }
}
