//! A short way through reader and printer, for Miri, which would take minutes for the `.proto` parser of the other tests.

use crate::schema::tests::sample_file;
use crate::{JsonErrorKind, MessageType, Schema};

fn sample() -> MessageType {
    Schema::from_files([sample_file()])
        .expect("the sample is valid")
        .message("t.T")
        .expect("declared")
}

#[test]
fn every_shape_of_field_is_read_and_printed() {
    let ty = sample();
    let text = concat!(
        r#"{"s":"a\"b","n":-1,"list":[1,2,3,4,5,6,7,8,9],"next":{"c":"7"},"map":{"k":{"n":1},"":{}},"b":{"words":["","x"]},"#,
        r#""words":["é","\u0001"],"many":[{},{"many":[{}]}],"flag":false}"#
    );
    let message = ty.from_json(text).unwrap();
    let printed = message.to_json().unwrap();
    assert_eq!(ty.from_json(&printed).unwrap(), message);
    assert_eq!(printed.len(), text.len());
    assert_eq!(ty.decode(message.encode().unwrap()).unwrap(), message);
}

#[test]
fn what_was_read_before_an_error_is_given_back() {
    let ty = sample();
    for text in [
        r#"{"many":[{"s":"a"},{"s":1}]}"#,
        r#"{"map":{"a":{"s":"a"},"b":{"map":{"c":[]}}}}"#,
        r#"{"words":["a","b",3]}"#,
        r#"{"b":{"words":["a"]},"a":{}}"#,
    ] {
        assert!(ty.from_json(text).is_err(), "{text}");
    }
    assert_eq!(ty.from_json(r#"{"a":"","c":1}"#).unwrap_err().kind(), JsonErrorKind::Duplicate);
}
