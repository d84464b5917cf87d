//! Pipe: orders and news between a host and its parent process, a line of JSON each.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use super::latches::CHANNEL;

/// Longest line, in bytes: some hundred participants of an election.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Joins a socket with two channels. What comes in ends with the socket, and the socket with what goes
/// out. To be called within a tokio runtime.
pub(crate) fn join<In, Out>(socket: UnixStream) -> (mpsc::Receiver<In>, mpsc::Sender<Out>)
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
{
    let (reader, mut writer) = socket.into_split();
    let (tell, told) = mpsc::channel(CHANNEL);
    let (send, mut sent) = mpsc::channel::<Out>(CHANNEL);
    tokio::spawn(read(reader, tell));
    tokio::spawn(async move {
        while let Some(value) = sent.recv().await {
            let Ok(mut line) = serde_json::to_vec(&value) else {
                tracing::error!("something for the other process cannot be written as JSON");
                break;
            };
            line.push(b'\n');
            if writer.write_all(&line).await.is_err() {
                // The other one has ended, which the reader notices as well.
                break;
            }
        }
    });
    (told, send)
}

async fn read<In: DeserializeOwned>(reader: OwnedReadHalf, tell: mpsc::Sender<In>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_BYTES_MAX);
        // An error is an end, too.
        if !matches!(limited.read_until(b'\n', &mut line).await, Ok(1..)) {
            return;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => {
                if tell.send(value).await.is_err() {
                    return;
                }
            }
            // Both are the same program: a line that it does not understand is one that was cut off.
            Err(error) => {
                tracing::error!(%error, bytes = line.len(), "the other process cannot be understood");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_says_the_other_hears_until_it_ends() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut hears, says) = join::<String, u32>(here);
        let (mut heard, answers) = join::<u32, String>(there);
        says.send(7).await.unwrap();
        assert_eq!(heard.recv().await, Some(7));
        let long = "x".repeat(100_000);
        answers.send(long.clone()).await.unwrap();
        drop(answers);
        assert_eq!(hears.recv().await, Some(long));
        assert_eq!(hears.recv().await, None, "the other one said all");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_the_end() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let (mut hears, _says) = join::<String, u32>(here);
        let writing = tokio::spawn(async move {
            let line = vec![b'"'; usize::try_from(LINE_BYTES_MAX).unwrap() + 2];
            // It is not read to its end.
            let _ = there.write_all(&line).await;
            there
        });
        assert_eq!(hears.recv().await, None);
        drop(writing.await.unwrap());
    }
}
