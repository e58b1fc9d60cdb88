//! Printing: the options, the order, and what has no form.

use super::*;

#[test]
fn options_change_names_enums_and_what_is_left_out() {
    let message =
        three().from_json(r#"{"twoWords":"a","e":"ONE","es":[1,2],"null":null}"#).unwrap();
    let new = JsonPrintOptions::new();
    assert_eq!(printed(&message, new), r#"{"e":"ONE","twoWords":"a","es":["ONE","UNO"]}"#);
    assert_eq!(
        printed(&message, new.preserve_proto_names(true)),
        r#"{"e":"ONE","two_words":"a","es":["ONE","UNO"]}"#
    );
    assert_eq!(printed(&message, new.enums_as_ints(true)), r#"{"e":1,"twoWords":"a","es":[1,2]}"#);
    let all = printed(&three().new_message(), new.always_print_fields_without_presence(true));
    assert_eq!(
        all,
        concat!(
            r#"{"i32":0,"i64":"0","u32":0,"u64":"0","s32":0,"s64":"0","f32":0,"f64":"0","sf32":0,"sf64":"0","fl":0,"db":0,"#,
            r#""b":false,"s":"","by":"","e":"ZERO","twoWords":"","other\"name":"","ints":[],"strs":[],"ms":[],"es":[],"#,
            r#""dbs":[],"mii":{},"msm":{},"mbb":{},"mse":{},"mus":{},"mis":{},"mff":{},"null":null,"nulls":[],"vals":[],"wis":[]}"#
        )
    );
    let all = printed(&two().new_message(), new.always_print_fields_without_presence(true));
    assert_eq!(all, r#"{"es":[],"me":{}}"#);
}

#[test]
fn indentation_is_a_line_a_member() {
    let message = three()
        .from_json(r#"{"i32":1,"m":{},"ints":[1,2],"msm":{"a":{"b":true}},"mask":"a,b"}"#)
        .unwrap();
    let text = printed(&message, JsonPrintOptions::new().indent(2));
    let expected = r#"{
  "i32": 1,
  "m": {},
  "ints": [
    1,
    2
  ],
  "msm": {
    "a": {
      "b": true
    }
  },
  "mask": "a,b"
}"#;
    assert_eq!(text, expected);
    assert_eq!(three().from_json(&text).unwrap(), message);
}

#[test]
fn a_string_that_is_not_utf8_has_no_form() {
    // proto2 does not check its strings
    let message = two().decode(&b"\x12\x02a\xff"[..]).unwrap();
    let e = message.to_json().unwrap_err();
    assert_eq!(e.kind(), JsonErrorKind::NoJsonForm);
    assert_eq!(e.to_string(), "two.M.s: the string is not UTF-8");
}

#[test]
fn unknown_fields_are_left_out_and_entries_without_a_value_are_empty() {
    let ty = three();
    // field 1000 and an entry of `msm` with a key alone
    let message = ty.decode(&b"\xc0\x3e\x01\xca\x02\x03\x0a\x01k"[..]).unwrap();
    assert_eq!(message.to_json().unwrap(), r#"{"msm":{"k":{}}}"#);
}

#[test]
fn the_deepest_message_bytes_can_hold_is_printed() {
    let ty = three();
    let mut message = ty.new_message();
    let mut at = message.as_mut();
    for _ in 0..100 {
        let field = ty.field("m").unwrap();
        at = at.mutable_as(&field).unwrap();
    }
    let back = ty.decode(message.encode().unwrap()).unwrap();
    assert_eq!(back.to_json().unwrap(), r#"{"m":"#.repeat(100) + "{}" + &"}".repeat(100));
}

#[test]
fn a_message_nested_without_end_is_refused() {
    let ty = three();
    let mut message = ty.new_message();
    let mut at = message.as_mut();
    for _ in 0..2000 {
        let field = ty.field("m").unwrap();
        at = at.mutable_as(&field).unwrap();
    }
    assert_eq!(message.to_json().unwrap_err().kind(), JsonErrorKind::TooDeep);
}
