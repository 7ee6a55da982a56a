//! An engine of another machine, over the standard streams of a child `ssh`.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::docker::endpoint::SshTarget;

/// How much of what `ssh` complains about is kept for the error.
const COMPLAINT_BYTES_MAX: usize = 512;

/// The child and its streams. The child is killed when this is dropped.
pub(super) struct SshStream {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
    complaints: Option<ChildStderr>,
    complaint: Vec<u8>,
    answered: bool,
}

/// Starts `ssh`; whether it gets anywhere shows when the stream is read.
pub(super) fn dial(target: &SshTarget) -> io::Result<SshStream> {
    let mut command = Command::new(&target.program);
    // Nobody is there to type a password, and a dead peer must not look like a quiet one.
    for option in ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5"] {
        command.args(["-o", option]);
    }
    if let Some(port) = target.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["-T", "--", &target.destination, "docker", "system", "dial-stdio"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let missing = || io::Error::other("the child has no standard streams");
    Ok(SshStream {
        input: child.stdin.take().ok_or_else(missing)?,
        output: child.stdout.take().ok_or_else(missing)?,
        complaints: child.stderr.take(),
        _child: child,
        complaint: Vec::new(),
        answered: false,
    })
}

impl SshStream {
    /// Reads what the child writes to its error stream, so that it never blocks on it.
    fn poll_complaints(&mut self, context: &mut Context<'_>) {
        while let Some(complaints) = &mut self.complaints {
            let mut space = [0; COMPLAINT_BYTES_MAX];
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(complaints).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.complaint.extend_from_slice(read.filled());
                    let surplus = self.complaint.len().saturating_sub(COMPLAINT_BYTES_MAX);
                    self.complaint.drain(..surplus);
                }
                Poll::Ready(_) => self.complaints = None,
                Poll::Pending => return,
            }
        }
    }

    fn ended(&self) -> io::Error {
        let said = String::from_utf8_lossy(&self.complaint);
        let said = said.trim().replace(char::is_control, " ");
        io::Error::other(if said.is_empty() { "ssh ended".to_owned() } else { said })
    }
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_complaints(context);
        let before = into.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(context, into))?;
        if into.filled().len() > before {
            self.answered = true;
        } else if !self.answered {
            // The reason may still be on its way; the child ends both streams together.
            if self.complaints.is_some() {
                return Poll::Pending;
            }
            return Poll::Ready(Err(self.ended()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.input).poll_write(context, bytes)) {
            // It has ended; why is told where its answer would have been read.
            Err(_) if !self.answered => Poll::Ready(Ok(bytes.len())),
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}
