//! A small authoritative name server on a port of its own, over UDP and TCP (RFC 1035), which says
//! whatever a test tells it to. Written apart from the resolver that asks it.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
};

/// Ends with the value.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    _serving: JoinSet<()>,
}

/// What is said of a name.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These records.
    Records(Vec<Record>),
    /// A response code and nothing else: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// These texts, once the test lets go.
    Held(Arc<Semaphore>, Vec<Record>),
    /// Nothing at all.
    Silence,
    /// What is no message, behind the question's id.
    Noise(usize),
}

/// A record: its owner, or the name that was asked for, its type and its data.
#[derive(Clone)]
pub(crate) struct Record(Option<String>, u16, Vec<u8>);

#[derive(Default)]
struct Zone {
    answers: Mutex<HashMap<String, Answer>>,
    questions: AtomicUsize,
    over_tcp: AtomicUsize,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut address = tcp.local_addr().unwrap();
        let (tcp, udp) = match UdpSocket::bind(address).await {
            Ok(udp) => (tcp, udp),
            // Taken by somebody else's UDP: the other way round.
            Err(_) => {
                let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                address = udp.local_addr().unwrap();
                (TcpListener::bind(address).await.unwrap(), udp)
            }
        };
        let zone = Arc::<Zone>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(udp, Arc::clone(&zone)));
        serving.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        Self { address, zone, _serving: serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, `name` is answered like that. Every other name does not exist.
    pub(crate) fn say(&self, name: &str, answer: Answer) {
        self.zone.answers.lock().unwrap().insert(name.to_ascii_lowercase(), answer);
    }

    /// From now on, these texts are at `name`.
    pub(crate) fn publish(&self, name: &str, texts: &[&str]) {
        self.say(name, Answer::Records(texts.iter().map(|text| Record::text(text)).collect()));
    }

    /// How many questions there were.
    pub(crate) fn questions(&self) -> usize {
        self.zone.questions.load(Ordering::Relaxed)
    }

    /// How many of them over TCP.
    pub(crate) fn over_tcp(&self) -> usize {
        self.zone.over_tcp.load(Ordering::Relaxed)
    }
}

impl Record {
    /// In pieces of at most 255 bytes.
    pub(crate) fn text(text: &str) -> Self {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(255).collect();
        // There is at least one, if only an empty one.
        Self::text_in_pieces(if pieces.is_empty() { &[b""] } else { &pieces })
    }

    pub(crate) fn text_in_pieces(pieces: &[&[u8]]) -> Self {
        let mut data = Vec::new();
        for piece in pieces {
            data.push(u8::try_from(piece.len()).unwrap());
            data.extend_from_slice(piece);
        }
        Self(None, 16, data)
    }

    pub(crate) fn alias(target: &str) -> Self {
        Self(None, 5, labels(target))
    }

    /// The same, of another owner.
    pub(crate) fn of(mut self, owner: &str) -> Self {
        self.0 = Some(owner.to_owned());
        self
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(mut answer) = zone.answer(&buffer[..length]).await else { continue };
        if answer.len() > 1232 {
            // Too large: its header and question, with the bit that says so.
            let end = question_end(&answer).unwrap();
            answer.truncate(end);
            answer[2] |= 0x02;
            answer[6..12].fill(0);
        }
        let _ = socket.send_to(&answer, from).await;
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let zone = Arc::clone(&zone);
        serving.spawn(async move {
            let _ = serve_one(stream, &zone).await;
        });
    }
}

async fn serve_one(mut stream: TcpStream, zone: &Zone) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut question = vec![0; length.into()];
        stream.read_exact(&mut question).await?;
        zone.over_tcp.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = zone.answer(&question).await {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl Zone {
    async fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let end = question_end(question)?;
        let name = name_at(question, 12)?;
        let answer = self.answers.lock().unwrap().get(&name).cloned();
        // The question as it came, in upper and lower case letters; the optional record is left off.
        let mut message = question[..end].to_vec();
        message[2] = 0x80 | 0x04 | (question[2] & 0x01);
        message[6..12].fill(0);
        let (code, records) = match answer {
            Some(Answer::Records(records)) => (0, records),
            Some(Answer::Held(go, records)) => {
                let _ = go.acquire().await;
                (0, records)
            }
            Some(Answer::Code(code)) => (code, Vec::new()),
            Some(Answer::Silence) => return None,
            Some(Answer::Noise(length)) => {
                message.extend(std::iter::repeat_n(0xff, length));
                message[7] = 9;
                return Some(message);
            }
            None => (3, Vec::new()),
        };
        message[3] = 0x80 | code;
        message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
        for Record(owner, kind, data) in records {
            match owner {
                Some(owner) => message.extend(labels(&owner)),
                None => message.extend([0xc0, 12]),
            }
            message.extend(kind.to_be_bytes());
            message.extend([0, 1]);
            message.extend(60_u32.to_be_bytes());
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
        }
        Some(message)
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// Where the one question ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = 12;
    while *message.get(at)? != 0 {
        at += 1 + usize::from(message[at]);
    }
    Some(at + 5).filter(|end| *end <= message.len())
}

fn name_at(message: &[u8], mut at: usize) -> Option<String> {
    let mut labels = Vec::new();
    while *message.get(at)? != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(message.get(at + 1..=at + length)?).to_lowercase());
        at += 1 + length;
    }
    Some(labels.join("."))
}
