//! Two ends of one connection, and somebody between them.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use uuid::Uuid;

use super::*;
use crate::{NodeId, Term};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Preface, length and nonce.
const CHALLENGE: usize = 5 + 4 + 32;

fn member(name: &str, secret: Option<&str>) -> Me {
    let secret = secret.map(|secret| secret.to_owned().into());
    Me {
        group: "default/flock".into(),
        member: name.into(),
        sealer: Sealer::new(secret.as_ref()),
    }
}

fn ask() -> Ask {
    Ask {
        leader: NodeId {
            member: "dolly".into(),
            incarnation: Uuid::max(),
        },
        term: Term(7),
        card: Bytes::from_static(b"dolly:6379"),
        promise: Duration::from_secs(6),
    }
}

/// What dolly makes of shaun's answer, and what reached shaun's election, which confirms all. `between`
/// carries the bytes, as those of dolly's end and those of shaun's.
async fn talk<F: Future<Output = ()>>(
    dolly: Option<&str>,
    shaun: Option<&str>,
    between: impl FnOnce(DuplexStream, DuplexStream) -> F,
) -> (Result<Verdict, Fault>, Vec<Ask>) {
    let (asker, by_asker) = duplex(64 * 1024);
    let (asked, by_asked) = duplex(64 * 1024);
    let (asking, mut election) = mpsc::channel::<(Ask, oneshot::Sender<Verdict>)>(MAX_QUESTIONS);
    let (dolly, shaun) = (member("dolly", dolly), member("shaun", shaun));
    let confirms = async {
        let mut heard = Vec::new();
        while let Some((ask, answer)) = election.recv().await {
            heard.push(ask);
            answer.send(Verdict::Confirmed).expect("it is waited for");
        }
        heard
    };
    let all = async {
        tokio::join!(
            converse(asker, &dolly, "shaun", ask()),
            // What it makes of a broken connection is not asked here.
            async { drop(answer(asked, &shaun, asking).await) },
            between(by_asker, by_asked),
            confirms,
        )
    };
    let (verdict, (), (), heard) = timeout(DEADLINE, all).await.expect("it ends");
    (verdict, heard)
}

/// Changes nothing.
async fn carry(mut asker: DuplexStream, mut asked: DuplexStream) {
    // An end that closes is an end.
    drop(tokio::io::copy_bidirectional(&mut asker, &mut asked).await);
}

/// A message: its preface, its length and its body.
async fn take(from: &mut DuplexStream) -> Vec<u8> {
    let mut message = vec![0; 9];
    from.read_exact(&mut message).await.expect("a head");
    let length = u32::from_be_bytes(message[5..].try_into().expect("four bytes"));
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).await.expect("a body");
    message.extend(body);
    message
}

async fn give(to: &mut DuplexStream, message: &[u8]) {
    to.write_all(message).await.expect("there is room");
}

#[tokio::test]
async fn who_shares_the_secret_or_has_none_at_all_is_confirmed() {
    for secret in [Some("baa"), None] {
        let (verdict, heard) = talk(secret, secret, carry).await;
        let verdict = verdict.expect("an answer");
        assert_eq!((verdict, heard), (Verdict::Confirmed, vec![ask()]));
    }
}

#[tokio::test]
async fn who_has_another_secret_or_none_is_told_why_it_is_refused() {
    for (dolly, shaun, why) in [
        (Some("baa"), Some("moo"), Refusal::Forged),
        (Some("baa"), None, Refusal::Sealed),
        (None, Some("baa"), Refusal::Unsealed),
    ] {
        let (verdict, heard) = talk(dolly, shaun, carry).await;
        assert_eq!(verdict.expect("an answer"), Verdict::Refused(why));
        assert!(heard.is_empty(), "{heard:?}");
    }
}

#[tokio::test]
async fn a_recorded_question_is_refused_and_gets_nothing_sealed() {
    let mut recorded = Vec::new();
    let kept = &mut recorded;
    let record = |mut asker: DuplexStream, mut asked: DuplexStream| async move {
        give(&mut asker, &take(&mut asked).await).await;
        *kept = take(&mut asker).await;
        give(&mut asked, kept).await;
        give(&mut asker, &take(&mut asked).await).await;
    };
    let (verdict, _) = talk(Some("baa"), Some("baa"), record).await;
    assert_eq!(verdict.expect("an answer"), Verdict::Confirmed);

    let (mut stranger, asked) = duplex(64 * 1024);
    let (asking, mut election) = mpsc::channel(1);
    let shaun = member("shaun", Some("baa"));
    let replay = async {
        assert_eq!(take(&mut stranger).await.len(), CHALLENGE);
        give(&mut stranger, &recorded).await;
        let sealed: Sealed = read(&mut stranger).await.expect("an answer");
        assert_eq!(sealed.seal, None);
        let reply: Reply = decode(&sealed.body).expect("a reply");
        assert_eq!(reply.verdict, Verdict::Refused(Refusal::Forged));
    };
    let both = async { tokio::join!(answer(asked, &shaun, asking), replay) };
    let (answered, ()) = timeout(DEADLINE, both).await.expect("it ends");
    answered.expect("it is answered");
    assert!(election.recv().await.is_none(), "the election hears of it");
}

#[tokio::test]
async fn no_byte_of_a_question_can_be_changed() {
    let length = {
        let mut length = 0;
        let measured = &mut length;
        let look = |mut asker: DuplexStream, mut asked: DuplexStream| async move {
            give(&mut asker, &take(&mut asked).await).await;
            *measured = take(&mut asker).await.len();
        };
        drop(talk(Some("baa"), Some("baa"), look).await);
        length
    };
    assert!(length > CHALLENGE, "{length}");
    // Preface and length aside.
    for at in 9..length {
        let change = |mut asker: DuplexStream, mut asked: DuplexStream| async move {
            give(&mut asker, &take(&mut asked).await).await;
            let mut question = take(&mut asker).await;
            question[at] ^= 1;
            give(&mut asked, &question).await;
            carry(asker, asked).await;
        };
        let (verdict, heard) = talk(Some("baa"), Some("baa"), change).await;
        assert!(heard.is_empty(), "byte {at}: {heard:?}");
        assert!(
            !matches!(verdict, Ok(Verdict::Confirmed)),
            "byte {at}: {verdict:?}"
        );
    }
}

#[tokio::test]
async fn no_byte_of_a_reply_can_be_changed_nor_its_seal_be_left_out() {
    // A refusal that somebody turns into a confirmation must not count, either: each byte, each bit.
    let group = member("", None).group.len();
    let length = 1 + (1 + group) + (1 + "shaun".len()) + 1 + 1 + 32;
    for at in 9..9 + length {
        for bit in 0..8 {
            let change = |mut asker: DuplexStream, mut asked: DuplexStream| async move {
                give(&mut asker, &take(&mut asked).await).await;
                give(&mut asked, &take(&mut asker).await).await;
                let mut reply = take(&mut asked).await;
                assert_eq!(reply.len(), 9 + length);
                reply[at] ^= 1 << bit;
                give(&mut asker, &reply).await;
            };
            let (verdict, _) = talk(Some("baa"), Some("baa"), change).await;
            assert!(
                !matches!(verdict, Ok(Verdict::Confirmed)),
                "bit {bit} of byte {at}: {verdict:?}"
            );
        }
    }
    let strip = |mut asker: DuplexStream, mut asked: DuplexStream| async move {
        give(&mut asker, &take(&mut asked).await).await;
        give(&mut asked, &take(&mut asker).await).await;
        let mut sealed: Sealed = read(&mut asked).await.expect("a reply");
        sealed.seal = None;
        write(&mut asker, &sealed).await.expect("there is room");
    };
    let (verdict, _) = talk(Some("baa"), Some("baa"), strip).await;
    let verdict = verdict.expect("an answer");
    assert_eq!(verdict, Verdict::Refused(Refusal::Forged));
}

#[tokio::test]
async fn a_recorded_reply_confirms_nothing() {
    let mut recorded = Vec::new();
    let kept = &mut recorded;
    let record = |mut asker: DuplexStream, mut asked: DuplexStream| async move {
        give(&mut asker, &take(&mut asked).await).await;
        give(&mut asked, &take(&mut asker).await).await;
        *kept = take(&mut asked).await;
        give(&mut asker, kept).await;
    };
    let (verdict, _) = talk(Some("baa"), Some("baa"), record).await;
    assert_eq!(verdict.expect("an answer"), Verdict::Confirmed);
    let replay = |mut asker: DuplexStream, mut asked: DuplexStream| {
        let recorded = &recorded;
        async move {
            give(&mut asker, &take(&mut asked).await).await;
            take(&mut asker).await;
            give(&mut asker, recorded).await;
        }
    };
    let (verdict, heard) = talk(Some("baa"), Some("baa"), replay).await;
    let verdict = verdict.expect("an answer");
    assert_eq!(verdict, Verdict::Refused(Refusal::Forged));
    assert!(heard.is_empty(), "{heard:?}");
}
