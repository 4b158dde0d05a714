//! An answer's body, of which only the beginning is kept while its whole length is counted: the memory of an answer is
//! bounded, whatever its sender does. How long it may take is the caller's deadline.

use bytes::Bytes;

use super::echo;

/// A body that is being read.
pub(super) struct KeptBody<'a> {
    /// The first bytes, up to `limit` and as many more as it takes to recognise a key that lies across that edge.
    kept: Vec<u8>,
    length: u64,
    limit: usize,
    key: &'a str,
}

impl<'a> KeptBody<'a> {
    /// Keeps the first `limit` bytes, without the key.
    pub(super) fn new(limit: usize, key: &'a str) -> Self {
        Self {
            kept: Vec::new(),
            length: 0,
            limit,
            key,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        let room = (self.limit + self.key.len().saturating_sub(1)).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        self.length = self.length.saturating_add(piece.len() as u64);
    }

    /// Whether more came than is kept.
    pub(super) fn is_truncated(&self) -> bool {
        self.length > self.limit as u64
    }

    /// What is kept, and the body's true length. Of a body that is kept whole, the length is the one without the key's
    /// echo: a shorter body beside a longer length would look truncated.
    pub(super) fn finish(self) -> (Bytes, u64) {
        let truncated = self.is_truncated();
        let edge = self.kept.len().min(self.limit);
        let mut out = Vec::with_capacity(edge);
        let mut from = 0;
        // An echo that begins before the edge is replaced as a whole, also where it ends after it.
        for place in echo::places(&self.kept, self.key).take_while(|place| *place < edge) {
            out.extend_from_slice(&self.kept[from..place]);
            out.extend_from_slice(echo::PLACEHOLDER.as_bytes());
            from = place + self.key.len();
        }
        out.extend_from_slice(self.kept.get(from..edge).unwrap_or_default());
        out.truncate(self.limit);
        let length = if truncated { self.length } else { out.len() as u64 };
        (Bytes::from(out), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "rtn_sk_0123456789";

    fn read(limit: usize, text: &str, piece: usize) -> (String, u64) {
        let mut body = KeptBody::new(limit, KEY);
        for piece in text.as_bytes().chunks(piece) {
            body.push(piece);
        }
        let (kept, length) = body.finish();
        (String::from_utf8(kept.to_vec()).unwrap(), length)
    }

    #[test]
    fn the_beginning_is_kept_and_the_whole_is_counted() {
        assert_eq!(read(4, "abcdefgh", 3), ("abcd".to_owned(), 8));
        assert_eq!(read(8, "abcdefgh", 3), ("abcdefgh".to_owned(), 8));
        assert_eq!(read(0, "abcdefgh", 3), (String::new(), 8));
        assert_eq!(read(8, "", 3), (String::new(), 0));
    }

    #[test]
    fn memory_is_bounded_however_much_comes() {
        let mut body = KeptBody::new(1000, KEY);
        for _ in 0..10_000 {
            body.push(&[b'x'; 4096]);
        }
        assert!(body.kept.capacity() < 4096);
        assert_eq!(body.finish().1, 40_960_000);
    }

    #[test]
    fn an_echo_of_the_key_is_replaced_wherever_it_lies_and_however_it_is_cut() {
        let text = format!("{KEY}, you said {KEY}!");
        for piece in 1..text.len() {
            assert_eq!(
                read(1000, &text, piece),
                ("[api key], you said [api key]!".to_owned(), 30)
            );
        }
    }

    #[test]
    fn no_part_of_the_key_is_left_at_the_edge() {
        let text = format!("your key {KEY} is wrong");
        for limit in 0..text.len() {
            let (kept, length) = read(limit, &text, 5);
            assert!(!kept.contains("rtn"), "{limit}: {kept}");
            assert!(kept.len() <= limit, "{limit}: {kept}");
            assert_eq!(length, text.len() as u64, "{limit}");
        }
    }

    #[test]
    fn a_key_shorter_than_its_placeholder_does_not_make_the_body_longer_than_its_limit() {
        let mut body = KeptBody::new(10, "k");
        body.push(b"kkkkkkkkkk");
        let (kept, length) = body.finish();
        assert_eq!((kept.len(), length), (10, 10));
    }
}
