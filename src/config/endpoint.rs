//! Where requests go: the parts of a URL that a configuration may name, so that the key travels neither in the clear
//! nor anywhere else.

use url::{Host, Url};

/// The API's `url`: `base_url` followed by one of its paths.
pub(super) fn base(text: &str, allow_insecure_http: bool) -> Result<Url, String> {
    let url = absolute(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials in it; remove them, the API is asked with the API key alone".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment; write it without `?` and `#`".to_owned());
    }
    if url.scheme() == "http" && !allow_insecure_http && !is_loopback(&url) {
        return Err(
            "would send the API key in the clear; write https://, or set api.allow_insecure_http = true".to_owned(),
        );
    }
    Ok(url)
}

/// One of the API's paths after its base. The base's own path stays: a gateway may have the API below one.
pub(super) fn join(base: &Url, path: &str) -> Result<Url, String> {
    if !path.starts_with('/') {
        return Err("does not begin with /; write the path from the root".to_owned());
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('#') {
        return Err("has a blank, a # or a character that is not ASCII; write it percent-encoded".to_owned());
    }
    Url::parse(&format!("{}{path}", base.as_str().trim_end_matches('/')))
        .map_err(|error| format!("makes no URL: {error}"))
}

/// A proxy's URL, which may have credentials.
pub(super) fn proxy(text: &str) -> Result<Url, String> {
    let url = absolute(text)?;
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err("has more than a host and a port; write http://host:port".to_owned());
    }
    Ok(url)
}

/// An `http` or `https` URL with a host. The parser alone would forgive blanks, line breaks and missing slashes.
fn absolute(text: &str) -> Result<Url, String> {
    let has_scheme = ["https://", "http://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if !has_scheme {
        return Err("is not a URL that begins with https:// (or http://)".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('\\') {
        return Err("has a blank, a backslash or a character that is not ASCII inside; write the URL alone".to_owned());
    }
    Url::parse(text).map_err(|error| format!("is not a URL: {error}"))
}

/// Whether what is sent there stays on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine_unless_allowed() {
        for text in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:1",
            "http://localhost/x",
            "HTTPS://api.reten.ai/",
        ] {
            assert!(base(text, false).is_ok(), "{text}");
        }
        for text in [
            "http://api.reten.ai",
            "http://localhost.evil.example",
            "http://10.0.0.1",
            "http://[::ffff:10.0.0.1]",
        ] {
            assert!(base(text, false).unwrap_err().contains("in the clear"), "{text}");
            assert!(base(text, true).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        let cases = [
            ("", "begins with https://"),
            ("api.reten.ai", "begins with https://"),
            ("ftp://api.reten.ai", "begins with https://"),
            ("https:api.reten.ai", "begins with https://"),
            ("https://", "is not a URL"),
            ("https://api reten.ai", "a blank"),
            ("https://api.reten.ai\n", "a blank"),
            ("https://api.reten.ai\\@evil.example", "a backslash"),
            ("https://user@api.reten.ai", "credentials"),
            ("https://api.reten.ai@evil.example", "credentials"),
            ("https://api.reten.ai/?x", "a query"),
            ("https://api.reten.ai/#x", "a query or a fragment"),
            ("https://api.reten.ai:99999", "is not a URL"),
        ];
        for (text, expected) in cases {
            let wrong = base(text, true).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }

    #[test]
    fn a_path_is_put_behind_the_base() {
        let joined = |text: &str, path: &str| join(&base(text, false).unwrap(), path).map(|url| url.to_string());
        assert_eq!(
            joined("https://api.reten.ai", "/a/b"),
            Ok("https://api.reten.ai/a/b".to_owned())
        );
        assert_eq!(
            joined("https://gate.example/reten/", "/a"),
            Ok("https://gate.example/reten/a".to_owned())
        );
        assert_eq!(
            joined("https://api.reten.ai", "//evil.example/a"),
            Ok("https://api.reten.ai//evil.example/a".to_owned())
        );
        for path in ["", "a", "/a b", "/ä", "/a#b", "/a\n"] {
            assert!(joined("https://api.reten.ai", path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        assert!(proxy("http://user:secret@proxy:3128").is_ok());
        assert!(proxy("proxy:3128").is_err());
        assert!(proxy("http://proxy:3128/path").is_err());
        assert!(proxy("socks5://proxy:1080").is_err());
    }
}
