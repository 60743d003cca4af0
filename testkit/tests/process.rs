//! Child processes: output, input, signals, and their end with their parent.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use bellwether_testkit::{Program, until};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn what_is_typed_comes_back() {
    let mut cat = Program::new("cat").captured().typed().spawn().unwrap();
    cat.type_line("first").unwrap();
    cat.type_line("second").unwrap();
    cat.lines().wait_for("second", PATIENCE).unwrap();
    assert_eq!(cat.lines().all(), ["first", "second"]);
    let error = cat.lines().wait_for("third", Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("first\nsecond"), "{error:#}");
    cat.close_input();
    assert!(cat.wait(PATIENCE).unwrap().success());
    cat.signal(nix::sys::signal::Signal::SIGTERM).unwrap_err();
}

#[test]
fn signals_end_it() {
    let mut sleep = Program::new("sleep").arg("1000").spawn().unwrap();
    assert_eq!(sleep.exit_status().unwrap(), None);
    sleep.terminate().unwrap();
    assert_eq!(sleep.wait(PATIENCE).unwrap().signal(), Some(15));

    let mut sleep = Program::new("sleep").arg("1000").spawn().unwrap();
    sleep.stop().unwrap();
    sleep.kill().unwrap();
    assert_eq!(sleep.exit_status().unwrap().unwrap().signal(), Some(9));
}

#[test]
fn it_outlives_the_thread_that_asked_for_it() {
    let mut sleep = std::thread::spawn(|| Program::new("sleep").arg("1000").spawn().unwrap())
        .join()
        .unwrap();
    // The kernel would send its death signal before the thread can be joined.
    assert_eq!(sleep.exit_status().unwrap(), None);
}

/// The parent is this test binary once more, running only [`hold_a_child`].
#[test]
fn it_dies_with_a_parent_that_is_killed() {
    let parent = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_child", "--nocapture"])
        .env("BELLWETHER_HOLD", "yes")
        .captured()
        .spawn()
        .unwrap();
    let line = parent.lines().wait_for("child is ", PATIENCE).unwrap();
    let child: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let proc = PathBuf::from(format!("/proc/{child}/exe"));
    assert!(proc.read_link().unwrap().ends_with("sleep"));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(parent.pid()).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    until(PATIENCE, "the child's end", || proc.read_link().is_err()).unwrap();
}

/// Not a test of its own: without the variable it returns at once.
#[test]
fn hold_a_child() {
    if std::env::var_os("BELLWETHER_HOLD").is_none() {
        return;
    }
    let mut sleep = Program::new("sleep").arg("1000").spawn().unwrap();
    let exe = PathBuf::from(format!("/proc/{}/exe", sleep.pid()));
    until(PATIENCE, "setpriv to become sleep", || {
        exe.read_link().is_ok_and(|exe| exe.ends_with("sleep"))
    })
    .unwrap();
    println!("\nchild is {}", sleep.pid());
    sleep.wait(Duration::from_secs(600)).unwrap();
}
