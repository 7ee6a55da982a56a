//! HTTP/2 clients that reset, ping, set and continue without end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Frames of one flood, if nobody ends it.
const FLOOD_FRAMES: usize = 20_000;
/// How long whoever is flooded may take to end the connection.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// How an HTTP/2 client abuses the protocol.
#[derive(Clone, Copy, Debug)]
pub enum Flood {
    /// Requests that are reset at once.
    RapidReset,
    /// A head that never ends.
    Continuation,
    /// Settings without end.
    Settings,
    /// Pings without end.
    Ping,
    /// Frames without content on a stream that is open.
    EmptyData,
}

impl Flood {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::RapidReset, Self::Continuation, Self::Settings, Self::Ping, Self::EmptyData];

    /// How many frames were sent until the connection was ended or the flood was over; those that
    /// cannot be allowed to go on must have been ended.
    ///
    /// # Errors
    /// What was not ended although it has to be.
    pub async fn send(self, at: SocketAddr) -> Result<usize, String> {
        let mut stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
        let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        begin.extend(frame(4, 0, 0, &[]));
        stream.write_all(&begin).await.map_err(|error| error.to_string())?;
        let (mut reader, mut writer) = stream.split();
        let sent = AtomicUsize::new(0);
        let flood = async {
            for n in 0..FLOOD_FRAMES {
                if writer.write_all(&self.frames(n)).await.is_err() {
                    return;
                }
                sent.store(n + 1, Ordering::Relaxed);
            }
            // Whoever says nothing more is left alone or ended; neither hurts.
            let _ = writer.shutdown().await;
        };
        let drain = async {
            let mut answers = [0; 16 << 10];
            while reader.read(&mut answers).await.is_ok_and(|amount| amount > 0) {}
        };
        let over = timeout(ENDED_WITHIN, async { tokio::join!(flood, drain) }).await;
        let bounded = matches!(self, Self::Continuation | Self::RapidReset);
        match over {
            Err(_) => {
                Err(format!("{self:?}: still open after {} frames", sent.load(Ordering::Relaxed)))
            }
            Ok(_) if bounded && sent.load(Ordering::Relaxed) == FLOOD_FRAMES => {
                Err(format!("{self:?}: {FLOOD_FRAMES} frames were taken"))
            }
            Ok(_) => Ok(sent.load(Ordering::Relaxed)),
        }
    }

    fn frames(self, n: usize) -> Vec<u8> {
        let stream = u32::try_from(2 * n + 1).expect("a flood is bounded");
        match self {
            Self::RapidReset => {
                let mut both = frame(1, 0x5, stream, HEAD);
                both.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
                both
            }
            Self::Continuation if n == 0 => frame(1, 0x1, 1, HEAD),
            Self::Continuation => frame(9, 0, 1, &[0x00, 0x01, b'x', 0x01, b'y'].repeat(200)),
            Self::Settings => frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            Self::Ping => frame(6, 0, 0, &[7; 8]),
            Self::EmptyData if n == 0 => frame(1, 0x4, 1, POST_HEAD),
            Self::EmptyData => frame(0, 0, 1, &[]),
        }
    }
}

/// GET, http, `/`, authority `web.test`; from the static table and as literals (RFC 7541).
const HEAD: &[u8] = b"\x82\x86\x84\x41\x08web.test";
/// POST, http, `/`, authority `web.test`.
const POST_HEAD: &[u8] = b"\x83\x86\x84\x41\x08web.test";

/// A frame as RFC 9113 has it: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are short");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
