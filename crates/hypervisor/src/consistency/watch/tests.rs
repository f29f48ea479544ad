//! The watchdog's ear: what the other process says, and what its silence means. Its hands, real processes and a
//! real guest, are in the tests of the program.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// Listens while `other` speaks; gives how it ended and how often the machine was asked for to be thawed.
async fn listen<F: Future<Output = ()>>(other: impl FnOnce(UnixStream) -> F) -> (End, u32) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let asked = AtomicU32::new(0);
    let connect = || async {
        asked.fetch_add(1, Ordering::SeqCst);
        Err::<Box<dyn Machine>, _>(Error::new(ErrorKind::Guest, "hangs"))
    };
    let limit = Duration::from_secs(20);
    let (end, ()) = tokio::join!(wait_for_end(ours, None, limit, &connect), other(theirs));
    (end.unwrap(), asked.load(Ordering::SeqCst))
}

async fn say(stream: &mut UnixStream, word: &str) {
    stream.write_all(word.as_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn done_ends_the_watch_and_the_end_without_it_is_death() {
    assert_eq!(listen(|mut other| async move { say(&mut other, "done\n").await }).await, (End::Done, 0));
    assert_eq!(listen(|other| async move { drop(other) }).await, (End::Died, 0));
    // Cut off within the word.
    assert_eq!(listen(|mut other| async move { say(&mut other, "don").await }).await, (End::Died, 0));
}

#[tokio::test(start_paused = true)]
async fn silence_thaws_again_and_again_and_a_word_puts_it_off() {
    let silent = |mut other: UnixStream| async move {
        sleep(Duration::from_secs(19)).await;
        say(&mut other, "alive\n").await;
        sleep(Duration::from_secs(59)).await;
        say(&mut other, "done\n").await;
    };
    assert_eq!(listen(silent).await, (End::Done, 0));
    let silent = |mut other: UnixStream| async move {
        sleep(Duration::from_secs(65)).await; // after 20, 40 and 60 s
        say(&mut other, "done\n").await;
    };
    assert_eq!(listen(silent).await, (End::Done, 3));
}
