//! Workloads that are processes of this machine: no engine is needed, and what they write can be
//! read.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use dormouse_wire::Phase;
use tokio::net::{TcpListener, TcpSocket};

use super::house::House;
use super::{PATIENCE, eventually, testapp};

/// The section of a workload that runs the test application, at `NAME.test`. A knob is an env var
/// of it, such as `START_DELAY_MS=200`; `keys` are further lines.
pub(crate) fn process(name: &str, knobs: &[&str], keys: &str) -> String {
    let mut command =
        format!("\"{}\", \"PORT=$PORT\", \"MARK={name}\"", testapp::binary().display());
    for knob in knobs {
        write!(command, ", {knob:?}").unwrap();
    }
    format!("[workload.{name}]\ncommand = [{command}]\nhosts = [\"{name}.test\"]\n{keys}\n")
}

/// The section of a workload whose process does nothing: whoever listens at `port` of this machine
/// once it runs is taken for it.
pub(crate) fn understudy(name: &str, port: u16, keys: &str) -> String {
    process(name, &["NEVER_LISTEN=1"], &format!("port = {port}\nidle_timeout = \"never\"\n{keys}"))
}

/// Starts the process of an understudy, and listens in its place.
///
/// # Panics
/// When it does not get ready.
pub(crate) async fn take_over(house: &House, name: &str, port: u16) -> TcpListener {
    let path = format!("/api/v1/workloads/{name}/wake");
    assert_eq!(house.admin.call("POST", &path, "").await.status, 202);
    // Its port has to be free until its process runs.
    let probed = async || house.admin.workload(name).await.why.contains("being probed");
    eventually(PATIENCE, &format!("{name} runs"), probed).await;
    let listener = listen(port);
    house.admin.until(name, Phase::Ready).await;
    listener
}

/// Listens at a port of this machine, also where connections to an earlier listener are still there.
pub(crate) fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
    socket.listen(1024).unwrap()
}
