use super::*;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use proptest::prelude::*;

const SECRET: &str = "AIzaSyTest_Key-That+Must/Never0123";
const URL: &str =
    "https://host/upload/v1beta/x?upload_id=AbCd_0123-efGHij&upload_protocol=resumable";

fn secrets() -> Secrets {
    Secrets::new(&ApiKey::new(SECRET).unwrap())
}

fn without(text: &str) -> String {
    secrets().and_sessions([URL].into_iter()).words(text)
}

fn each(format: impl Fn(u8) -> String) -> String {
    SECRET.bytes().map(format).collect()
}

#[test]
fn every_way_to_write_the_key_is_found() {
    let forms = [
        SECRET.to_owned(),
        SECRET.to_lowercase(),
        SECRET.to_uppercase(),
        each(|b| format!("%{b:02X}")),
        each(|b| format!("%{b:02x}")),
        each(|b| format!("%25{b:02x}")),
        each(|b| format!("\\u{b:04x}")),
        each(|b| format!("\\\\u{b:04X}")),
        each(|b| format!("\\x{b:02x}")),
        each(|b| format!("&#{b};")),
        each(|b| format!("&#x{b:X};")),
        each(|b| format!("&#x{b:04x};")),
        each(|b| format!("&amp;#{b};")),
        each(|b| format!("\\u0026#{b};")),
        each(|b| format!("{b:02x}")),
        each(|b| format!("{b:02X}")),
        SECRET.replace('/', "\\/"),
        SECRET.replace('+', "%2B").replace('/', "%2F"),
    ];
    for form in forms {
        let text = format!("before {form} after");
        assert_eq!(without(&text), "before [key] after", "{form}");
        let text = format!(r#"{{"a":"api_key:{form}","b":"?key={form}&x=1"}}"#);
        let left = r#"{"a":"api_key:[key]","b":"?key=[key]&x=1"}"#;
        assert_eq!(without(&text), left, "{form}");
    }
}

#[test]
fn base64_of_the_key_is_found_wherever_it_stands() {
    for engine in [BASE64_STANDARD, BASE64_URL_SAFE] {
        for before in ["", "x", "xy", "key=", "user:"] {
            for after in ["", ":", "&x=1"] {
                let text = engine.encode(format!("{before}{SECRET}{after}"));
                let left = without(&text);
                // What holds bits of a neighbour as well may stay, on either side.
                let rest = left.replace("[key]", "");
                assert!(left.contains("[key]") && rest.len() <= 16, "{text}: {left}");
            }
        }
    }
}

#[test]
fn what_is_cut_short_is_cut_out_as_well() {
    assert_eq!(without(&SECRET[..12]), "[key]");
    assert_eq!(without(&format!("{}…", &SECRET[..20])), "[key]…");
    // What every key of Google begins with tells nothing.
    assert_eq!(without("AIzaSy"), "AIzaSy");
}

#[test]
fn a_session_is_cut_out_and_its_own_address_stays_usable() {
    assert_eq!(without(URL), "https://host[session]");
    assert_eq!(without("id AbCd_0123-efGHij."), "id [session].");
    assert_eq!(without("/u?upload_id=other&x"), "/u?[session]&x");
    assert_eq!(without("upload_id%3Dother%26x"), "[session]%26x");
    let cut = secrets();
    let cut = cut.and_sessions([URL].into_iter());
    assert_eq!(*cut.key_only(URL.as_bytes()), *URL.as_bytes());
    let named = format!("{URL}&key={SECRET}");
    assert_eq!(
        *cut.key_only(named.as_bytes()),
        *format!("{URL}&key=[key]").as_bytes()
    );
}

#[test]
fn a_short_key_is_no_secret() {
    let secrets = Secrets::new(&ApiKey::new("emulator").unwrap());
    assert!(!secrets.appear_in("src/emulator/mod.rs"));
    let cut = secrets.and_sessions(std::iter::empty());
    assert_eq!(cut.words("src/emulator/mod.rs"), "src/emulator/mod.rs");
}

#[test]
fn a_key_that_looks_escaped_is_found_as_it_is() {
    let key = "ab%41cd%5Cef&lt;gh";
    let secrets = Secrets::new(&ApiKey::new(key).unwrap());
    let cut = secrets.and_sessions(std::iter::empty());
    assert_eq!(cut.words(&format!("a {key} b")), "a [key] b");
    let json = serde_json::json!({ "a": key }).to_string();
    assert_eq!(cut.words(&json), r#"{"a":"[key]"}"#);
}

proptest! {
    #[test]
    fn innocent_text_stays_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let secrets = secrets();
        let cut = secrets.and_sessions([URL].into_iter());
        prop_assert!(matches!(cut.all(&bytes), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_left_of_json_is_json(before in "(?s).{0,20}", after in "(?s).{0,20}") {
        let value = serde_json::json!({ "a": format!("{before}{SECRET}{after}") });
        let left = without(&value.to_string());
        let left: serde_json::Value = serde_json::from_str(&left).unwrap();
        prop_assert!(!left.to_string().contains(SECRET));
    }

    #[test]
    fn any_escapes_can_be_read(text in "[\\\\%&#;ux0-9a]{0,60}") {
        prop_assert!(without(&text).len() <= text.len());
    }
}
