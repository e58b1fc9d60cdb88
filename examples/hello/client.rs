//! Calls of all four kinds, by name: `hello_client [TARGET]` (default 127.0.0.1:50051).

use std::path::PathBuf;
use std::time::Duration;

use stubless::{Channel, Code, Message, MessageType, Options, Request, Schema, Value};

fn name(of: &MessageType, name: &str, times: i32) -> Result<Message, stubless::ValueError> {
    let mut message = of.new_message();
    message.set_by_name("name", name)?;
    message.set_by_name("times", times)?;
    Ok(message)
}

fn text(greeting: &Message) -> String {
    match greeting.get_by_name("text") {
        Ok(Value::Str(text)) => text.to_owned(),
        _ => String::new(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".into());
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
    let schema = Schema::load(["hello.proto"], [here])?;
    let person = schema.message("hello.v1.Name").ok_or("the schema lacks Name")?;
    let channel = Channel::connect(&target, &schema)?;

    let options = Options::new().timeout(Duration::from_secs(5)).metadata("x-example", "hello")?;
    let request = Request::new(name(&person, "Ada", 0)?).with(options);
    let greeting = channel.unary("hello.v1.Greeter/Greet", request).await?;
    println!("unary: {}", text(&greeting.message));

    let mut often =
        channel.server_streaming("hello.v1.Greeter/GreetOften", name(&person, "Ada", 3)?)?;
    let mut count = 0;
    while let Some(greeting) = often.message().await? {
        assert_eq!(text(&greeting), "Hello, Ada!");
        count += 1;
    }
    println!("server streaming: {count} greetings");

    let (mut names, answer) =
        channel.client_streaming("hello.v1.Greeter/GreetAll", Options::new())?;
    for one in ["Ada", "Grace", "Edsger"] {
        names.send(&name(&person, one, 0)?).await?;
    }
    names.done();
    println!("client streaming: {}", text(&answer.response().await?.message));

    let (mut names, mut greetings) = channel.bidi("hello.v1.Greeter/Chat", Options::new())?;
    for one in ["Ada", "Grace"] {
        names.send(&name(&person, one, 0)?).await?;
        let greeting = greetings.message().await?.ok_or("the chat ended early")?;
        println!("bidi: {}", text(&greeting));
    }
    names.done();
    assert!(greetings.message().await?.is_none());

    let refused = channel.unary("hello.v1.Greeter/Greet", person.new_message()).await;
    match refused {
        Err(error) if error.code() == Some(Code::InvalidArgument) => println!("refused: {error}"),
        other => return Err(format!("a nameless greeting gave {other:?}").into()),
    }
    Ok(())
}
