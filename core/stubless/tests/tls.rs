//! TLS and mTLS: who is let in, who is recognised, and what the refused are told.
#![allow(missing_docs)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use stubless::{
    Channel, ClientTls, ClientTlsConfig, Code, Error, Schema, Server, ServerTls, ServerTlsConfig,
    Service,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const PROTO: &str = r#"syntax = "proto3"; package t; message Msg { string text = 1; }
                       service Who { rpc AmI(Msg) returns (Msg); }"#;

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Pem {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Result<Authority, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> Result<Pem, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Ok(Pem { cert: params.signed_by(&key, &self.0)?.pem(), key: key.serialize_pem() })
    }
}

fn serve(schema: &Schema, tls: ServerTls) -> Result<(Server, u16), Error> {
    let server = Server::new(schema)?;
    let reply = schema.message("t.Msg").expect("declared");
    server.add(Service::new(schema, "t.Who")?.unary("AmI", move |_, context| {
        let mut reply = reply.new_message();
        async move {
            let name = match context.tls_identity() {
                Some(identity) => identity.subject_alternative_names.join(","),
                None => "nobody".to_owned(),
            };
            reply.set_by_name("text", name.as_str()).expect("a string");
            Ok(reply)
        }
    }))?;
    let port = server.listen_tls("127.0.0.1:0", tls)?;
    Ok((server, port))
}

async fn ask(schema: &Schema, port: u16, tls: Option<ClientTls>) -> Result<String, Error> {
    let mut builder = Channel::builder(&format!("localhost:{port}"), schema);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    let channel = builder.connect()?;
    let request = schema.message("t.Msg").expect("declared").new_message();
    let response = channel.unary("t.Who/AmI", request).await?;
    Ok(match response.message.get_by_name("text") {
        Ok(stubless::Value::Str(text)) => text.to_owned(),
        other => panic!("{other:?}"),
    })
}

fn client<'a>(ca: &'a str, own: Option<&'a Pem>) -> ClientTlsConfig<'a> {
    ClientTlsConfig {
        ca: Some(ca.as_bytes()),
        cert: own.map(|pem| pem.cert.as_bytes()),
        key: own.map(|pem| pem.key.as_bytes()),
        server_name: None,
    }
}

#[tokio::test]
async fn a_trusted_server_answers_and_an_untrusted_one_is_unavailable_with_the_reason() -> Outcome {
    let schema = Schema::from_source([("t.proto", PROTO)])?;
    let (ours, other) = (Authority::new()?, Authority::new()?);
    let own = ours.issue("localhost")?;
    let tls = ServerTls::new(&ServerTlsConfig {
        cert: own.cert.as_bytes(),
        key: own.key.as_bytes(),
        ..ServerTlsConfig::default()
    })?;
    let (_server, port) = serve(&schema, tls)?;
    assert_eq!(
        ask(&schema, port, Some(ClientTls::new(&client(&ours.pem(), None))?)).await?,
        "nobody"
    );

    let distrusted = ask(&schema, port, Some(ClientTls::new(&client(&other.pem(), None))?)).await;
    let error = distrusted.expect_err("not trusted");
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");

    let pem = ours.pem();
    let misnamed = ClientTlsConfig { server_name: Some("example.org"), ..client(&pem, None) };
    let error =
        ask(&schema, port, Some(ClientTls::new(&misnamed)?)).await.expect_err("another name");
    assert_eq!(error.code(), Some(Code::Unavailable));

    let error = ask(&schema, port, None).await.expect_err("cleartext to a TLS port");
    assert_eq!(error.code(), Some(Code::Unavailable));
    Ok(())
}

#[tokio::test]
async fn with_a_client_ca_only_known_clients_get_in_and_the_handler_sees_who_they_are() -> Outcome {
    let schema = Schema::from_source([("t.proto", PROTO)])?;
    let (ours, other) = (Authority::new()?, Authority::new()?);
    let own = ours.issue("localhost")?;
    let ca = ours.pem();
    let tls = ServerTls::new(&ServerTlsConfig {
        cert: own.cert.as_bytes(),
        key: own.key.as_bytes(),
        client_ca: Some(ca.as_bytes()),
        client_cert_optional: false,
    })?;
    let (_server, port) = serve(&schema, tls)?;
    let ada = ours.issue("ada.example")?;
    assert_eq!(
        ask(&schema, port, Some(ClientTls::new(&client(&ca, Some(&ada)))?)).await?,
        "ada.example"
    );
    let error = ask(&schema, port, Some(ClientTls::new(&client(&ca, None))?))
        .await
        .expect_err("no certificate");
    assert_eq!(error.code(), Some(Code::Unavailable));
    let stranger = other.issue("ada.example")?;
    let error = ask(&schema, port, Some(ClientTls::new(&client(&ca, Some(&stranger)))?)).await;
    assert_eq!(error.expect_err("a stranger").code(), Some(Code::Unavailable));
    Ok(())
}

#[test]
fn wrong_pem_is_refused_naming_the_option() {
    let said = |config: &ClientTlsConfig<'_>| match ClientTls::new(config) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    };
    let none = ClientTlsConfig { ca: Some(b""), ..ClientTlsConfig::default() };
    assert!(said(&none).contains("option ca"), "{}", said(&none));
    let half = ClientTlsConfig { ca: Some(b"x"), cert: Some(b"x"), ..ClientTlsConfig::default() };
    assert!(said(&half).contains("option"), "{}", said(&half));
}
