//! Frames survive their encoding, and no bytes survive that are none.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::Message;
use crate::error::RpcError;
use crate::transport::frame::{self, Decoder, Frame, FrameError, RequestId};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn name() -> impl Strategy<Value = std::sync::Arc<str>> {
    // At most 63 characters of up to four bytes.
    ".{0,63}".prop_map(Into::into)
}

fn message() -> impl Strategy<Value = Message> {
    (name(), bytes()).prop_map(|(kind, body)| Message { kind, body })
}

fn id() -> impl Strategy<Value = RequestId> {
    any::<u64>().prop_map(RequestId)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (name(), message()).prop_map(|(endpoint, message)| Frame::OneWay { endpoint, message }),
        (id(), name(), message()).prop_map(|(id, endpoint, message)| Frame::Request {
            id,
            endpoint,
            message
        }),
        (id(), message()).prop_map(|(id, message)| Frame::Reply { id, message }),
        (id(), bytes()).prop_map(|(id, error)| Frame::Failure { id, error }),
        id().prop_map(|id| Frame::Forget { id }),
        Just(Frame::Ping),
        Just(Frame::Pong),
        bytes().prop_map(|reason| Frame::Bye { reason }),
        bytes().prop_map(|path| Frame::Open { path }),
        (any::<u64>(), any::<u64>(), bytes()).prop_map(|(offset, length, path)| {
            Frame::OpenRange {
                offset,
                length,
                path,
            }
        }),
        bytes().prop_map(|bytes| Frame::Chunk { bytes }),
        Just(Frame::End),
        bytes().prop_map(|reason| Frame::StreamFailure { reason }),
        name().prop_map(|endpoint| Frame::StandsStill { endpoint }),
        (name(), any::<u64>()).prop_map(|(endpoint, pause)| Frame::GoesOn { endpoint, pause }),
    ]
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for frame in frames {
        let before = bytes.len();
        frame.encode(&mut bytes);
        assert_eq!(bytes.len() - before, frame::LENGTH_BYTES + frame.length());
    }
    bytes
}

/// Decodes all complete frames of `buffer`.
fn drain(decoder: &mut Decoder, buffer: &mut BytesMut) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(buffer)? {
        frames.push(frame);
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were_however_the_stream_is_cut(
        frames in vec(any_frame(), 1..6),
        cuts in vec(1..40_usize, 1..20),
    ) {
        let mut bytes = encoded(&frames);
        let mut decoder = Decoder::new(1 << 16);
        let (mut arrived, mut decoded) = (BytesMut::new(), Vec::new());
        for cut in cuts.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            arrived.extend_from_slice(&bytes.split_to((*cut).min(bytes.len())));
            decoded.extend(drain(&mut decoder, &mut arrived).unwrap());
        }
        prop_assert_eq!(decoded, frames);
        prop_assert!(arrived.is_empty());
    }

    #[test]
    fn a_stream_that_is_cut_off_gives_its_whole_frames_and_then_waits(frame in any_frame(), next in any_frame()) {
        let whole = encoded(std::slice::from_ref(&frame));
        let both = encoded(&[frame.clone(), next]);
        for end in 0..both.len() {
            let mut buffer = BytesMut::from(&both[..end]);
            let frames = drain(&mut Decoder::new(1 << 16), &mut buffer).unwrap();
            let expected = usize::from(end >= whole.len());
            prop_assert_eq!(frames.len(), expected);
            prop_assert!(frames.iter().all(|decoded| *decoded == frame));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(noise in vec(any::<u8>(), 0..300)) {
        let mut buffer = BytesMut::from(&noise[..]);
        let mut decoder = Decoder::new(256);
        let _ = drain(&mut decoder, &mut buffer);
        prop_assert!(decoder.missing(&buffer) <= 256);
    }

    /// Noise that looks like a frame reaches every branch of the head.
    #[test]
    fn any_content_under_a_right_length_is_decoded_or_refused(tag in 0_u8..16, noise in vec(any::<u8>(), 0..300)) {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&(noise.len() as u32 + 1).to_le_bytes());
        buffer.extend_from_slice(&[tag]);
        buffer.extend_from_slice(&noise);
        if let Ok(frames) = drain(&mut Decoder::new(1024), &mut buffer) {
            prop_assert_eq!(frames.len(), 1);
            let mut again = encoded(&frames);
            prop_assert_eq!(drain(&mut Decoder::new(1024), &mut again).unwrap(), frames);
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_arrive(length in 1025_u32..) {
        let mut buffer = BytesMut::from(&length.to_le_bytes()[..]);
        let refused = FrameError::TooLarge { bytes: length as usize, limit: 1024 };
        prop_assert_eq!(Decoder::new(1024).decode(&mut buffer), Err(refused));
    }
}

#[test]
fn a_body_is_not_copied() {
    let body = Bytes::from(vec![5; 10_000]);
    let (endpoint, kind) = ("e".into(), "k".into());
    let message = Message { kind, body };
    let mut buffer = encoded(&[Frame::OneWay { endpoint, message }]);
    let memory = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
    let decoded = Decoder::new(1 << 20).decode(&mut buffer).unwrap().unwrap();
    assert!(memory.contains(&(decoded.body().unwrap().as_ptr() as usize)));
}

#[test]
fn every_failure_travels() {
    let error = RpcError::InboxFull {
        endpoint: "echo".to_owned(),
        capacity: 3,
    };
    let Frame::Failure { error: bytes, .. } = Frame::failure(RequestId(1), &error) else {
        panic!("a failure is a failure");
    };
    assert_eq!(frame::failure_of(&bytes, "peer"), error);
    let noise = Bytes::from_static(&[255; 9]);
    assert_eq!(frame::failure_of(&noise, "peer").code(), "undecodable");
}

#[test]
fn what_cannot_travel_is_refused_by_name() {
    let one_way = |endpoint: &str, kind: &str, size| Frame::OneWay {
        endpoint: endpoint.into(),
        message: Message::new(kind, vec![0; size]),
    };
    let long = "x".repeat(256);
    for (frame, words) in [
        (one_way(&long, "k", 0), "endpoint name"),
        (one_way("e", &long, 0), "message kind"),
        (one_way("e", "k", 4_096), "message `k` to `e`"),
    ] {
        let error = frame.check(4_096).unwrap_err();
        assert_eq!(error.code(), "too-large");
        assert!(error.to_string().contains(words), "{error}");
    }
    let still = Frame::StandsStill {
        endpoint: long.as_str().into(),
    };
    assert_eq!(still.check(4_096).unwrap_err().code(), "too-large");
    let exact = one_way("e", "k", 4_096 - 5);
    assert_eq!(exact.length(), 4_096);
    exact.check(4_096).unwrap();
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let Frame::Bye { reason } = Frame::bye(&"ä".repeat(1000)) else {
        panic!("a good-bye is a good-bye");
    };
    assert_eq!(frame::text(&reason), "ä".repeat(512));
}
