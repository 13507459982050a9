//! The head of a request goes out together with the first bytes of its body.
//!
//! Owns what is held back of a request: at most its head. A small file is then one packet and one TLS record
//! instead of two, and the service wakes once for it. Promises: whatever was written is on its way before an
//! answer is waited for; what comes after the first bytes of a body is never held back.

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// A larger head goes out at once.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Wraps every connection.
#[derive(Debug, Clone, Copy)]
pub struct Cork;

impl<In: Transport> Connector<In> for Cork {
    type Out = Corked<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(Corked::over))
    }
}

#[derive(Debug)]
pub struct Corked<T> {
    inner: T,
    /// What is held back; nothing most of the time.
    head: Vec<u8>,
    /// What is written next is the head of a request.
    begins: bool,
}

impl<T: Transport> Corked<T> {
    fn over(inner: T) -> Corked<T> {
        Corked {
            inner,
            head: Vec::new(),
            begins: true,
        }
    }

    fn output(&mut self) -> &mut [u8] {
        self.inner.buffers().output()
    }
}

impl<T: Transport> Transport for Corked<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let begins = std::mem::replace(&mut self.begins, false);
        if begins && amount <= HEAD_BYTES_MAX {
            let head = &self.inner.buffers().output()[..amount];
            self.head.extend_from_slice(head);
            return Ok(());
        }
        if self.head.is_empty() {
            return self.inner.transmit_output(amount, timeout);
        }
        // The body's first bytes make room for the head, in the buffer where they are.
        let head = std::mem::take(&mut self.head);
        let output = self.output();
        let first = amount.min(output.len() - head.len());
        let rest = output[first..amount].to_vec();
        output.copy_within(..first, head.len());
        output[..head.len()].copy_from_slice(&head);
        self.inner.transmit_output(head.len() + first, timeout)?;
        if rest.is_empty() {
            return Ok(());
        }
        self.output()[..rest.len()].copy_from_slice(&rest);
        self.inner.transmit_output(rest.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.begins = true;
        let head = std::mem::take(&mut self.head);
        if !head.is_empty() {
            self.output()[..head.len()].copy_from_slice(&head);
            self.inner.transmit_output(head.len(), timeout)?;
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::unversioned::transport::LazyBuffers;

    const BUFFER_BYTES: usize = 32 * 1024;

    /// Keeps what goes out, in the pieces in which it does.
    #[derive(Debug)]
    struct Wire {
        buffers: LazyBuffers,
        sent: Vec<Vec<u8>>,
    }

    impl Transport for Wire {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
            let piece = self.buffers.output()[..amount].to_vec();
            self.sent.push(piece);
            Ok(())
        }

        fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
            Ok(true)
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    fn corked() -> Corked<Wire> {
        Corked::over(Wire {
            buffers: LazyBuffers::new(BUFFER_BYTES, BUFFER_BYTES),
            sent: Vec::new(),
        })
    }

    fn write(corked: &mut Corked<Wire>, bytes: &[u8]) {
        corked.output()[..bytes.len()].copy_from_slice(bytes);
        corked
            .transmit_output(bytes.len(), NextTimeout::default())
            .unwrap();
    }

    fn answered(corked: &mut Corked<Wire>) {
        corked.await_input(NextTimeout::default()).unwrap();
    }

    #[test]
    fn a_small_request_goes_out_in_one_piece() {
        let mut corked = corked();
        for _ in 0..2 {
            write(&mut corked, b"head ");
            assert!(corked.inner.sent.is_empty());
            write(&mut corked, b"body");
            assert_eq!(corked.inner.sent, [b"head body"]);
            answered(&mut corked);
            assert_eq!(std::mem::take(&mut corked.inner.sent).len(), 1);
        }
    }

    #[test]
    fn a_head_without_a_body_goes_out_before_its_answer_is_waited_for() {
        let mut corked = corked();
        write(&mut corked, b"head");
        answered(&mut corked);
        assert_eq!(corked.inner.sent, [b"head"]);
    }

    #[test]
    fn only_the_head_is_ever_held_back() {
        let mut corked = corked();
        write(&mut corked, b"head ");
        write(&mut corked, b"one ");
        write(&mut corked, b"two");
        assert_eq!(corked.inner.sent, [b"head one ".as_slice(), b"two"]);
    }

    #[test]
    fn a_body_that_fills_the_buffer_keeps_its_order() {
        for (head, body) in [(1, BUFFER_BYTES), (300, BUFFER_BYTES - 300), (300, 32_700)] {
            let mut corked = corked();
            let bytes = |from: usize, n: usize| -> Vec<u8> {
                (from..from + n).map(|i| (i % 251) as u8).collect()
            };
            write(&mut corked, &bytes(0, head));
            write(&mut corked, &bytes(head, body));
            assert_eq!(corked.inner.sent.concat(), bytes(0, head + body));
        }
    }

    #[test]
    fn a_large_head_goes_out_at_once() {
        let mut corked = corked();
        write(&mut corked, &[b'h'; HEAD_BYTES_MAX + 1]);
        assert_eq!(corked.inner.sent.len(), 1);
    }
}
