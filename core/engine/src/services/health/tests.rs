//! What stays behind in memory when watchers come and go.

use super::*;

fn waits(watcher: &mut Watcher) -> bool {
    watcher.poll_change(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn a_name_lives_while_it_is_set_or_watched() {
    let health = Health(Shared::default());
    let names = || lock(&health.0).entries.len();
    let mut first = Watcher::new(health.0.clone(), "demo.Echo".into());
    let second = Watcher::new(health.0.clone(), "demo.Echo".into());
    assert!(!waits(&mut first));
    assert!(waits(&mut first));
    drop(first);
    assert_eq!(names(), 1, "the other one still watches");
    assert_eq!(lock(&health.0).entries.get("demo.Echo").map(|entry| entry.watchers.len()), Some(1));
    health.set("demo.Echo", ServingStatus::Serving);
    drop(second);
    assert_eq!(names(), 1, "it is set");
    health.clear("demo.Echo");
    assert_eq!(names(), 0);
    health.clear("never.Seen");
    assert_eq!(names(), 0);
    drop(Watcher::new(health.0.clone(), "nobody.Ever".into()));
    assert_eq!(names(), 0);
}

#[test]
fn stop_and_resume_leave_names_alone_that_nobody_set() {
    let health = Health(Shared::default());
    let mut watcher = Watcher::new(health.0.clone(), "demo.Echo".into());
    assert!(!waits(&mut watcher));
    health.stop();
    health.resume();
    assert!(waits(&mut watcher), "SERVICE_UNKNOWN all along");
    assert_eq!(health.status("demo.Echo"), None);
}
