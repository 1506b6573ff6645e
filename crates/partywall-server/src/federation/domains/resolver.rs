//! Asking DNS for the record that proves a domain.

use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{DNSClass, Name, RData, RecordType},
    },
};
use tokio::sync::Semaphore;

use super::DomainName;

/// Asks the system's name servers, or those the operator names.
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    at_once: Semaphore,
}

/// What was at a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// The whole value, in one of the records.
    Value,
    /// Records, but none with the value.
    OtherValues(usize),
    /// No record: the name servers said that there is none.
    Nothing,
    /// No answer, or none that says anything: no server, an error, too late, not readable.
    Undecided,
}

impl Resolver {
    /// One that asks `servers`, or those of the system where there are none.
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, at_once: Semaphore::new(AT_ONCE) }
    }

    /// Looks for `value` in the TXT records that prove `domain`. Never takes longer than
    /// [`AT_MOST`].
    pub(crate) async fn look(&self, domain: &DomainName, value: &str) -> Seen {
        let looking = async {
            let _one = self.at_once.acquire().await.ok()?;
            self.ask(domain, value).await
        };
        let seen = tokio::time::timeout(AT_MOST, looking).await;
        seen.ok().flatten().unwrap_or(Seen::Undecided)
    }

    async fn ask(&self, domain: &DomainName, value: &str) -> Option<Seen> {
        // From the root: no search list of this machine's makes another name of it.
        let name = Name::from_ascii(format!("{}.", domain.challenge_name())).ok()?;
        // A new one each time: it remembers no answer, and no server as broken.
        let resolver = match self.build() {
            Ok(resolver) => resolver,
            Err(error) => {
                tracing::error!(%error, "name servers cannot be asked: is /etc/resolv.conf there?");
                return None;
            }
        };
        let found = match resolver.lookup(name.clone(), RecordType::TXT).await {
            Ok(found) => found,
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let said_so =
                    matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError);
                return said_so.then_some(Seen::Nothing);
            }
            Err(error) => {
                tracing::debug!(%domain, %error, "a domain's record could not be asked for");
                return None;
            }
        };
        if found.message().response_code != ResponseCode::NoError {
            return None;
        }
        Some(judge(&name, found.answers(), value))
    }

    fn build(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            asking(&self.servers)
        };
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = 2;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = true;
        // Whoever guesses at answers has more to guess.
        options.case_randomization = true;
        options.preserve_intermediates = true;
        builder.build()
    }
}

fn asking(servers: &[SocketAddr]) -> ResolverBuilder<TokioRuntimeProvider> {
    let servers = servers.iter().map(|server| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        NameServerConfig::new(server.ip(), true, connections)
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

/// Reads the records at `name`, or where its aliases lead (RFC 1034 3.6.2), and no others: an
/// answer may carry more than was asked for.
fn judge(name: &Name, answers: &[hickory_resolver::proto::rr::Record], value: &str) -> Seen {
    let mut at = name;
    for _ in 0..MOST_ALIASES {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(alias) if record.name == *at => Some(&alias.0),
            _ => None,
        });
        let Some(target) = alias else { break };
        at = target;
    }
    let texts = answers.iter().filter_map(|record| match &record.data {
        RData::TXT(text) if record.name == *at && record.dns_class == DNSClass::IN => Some(text),
        _ => None,
    });
    let mut others = 0;
    for text in texts {
        // A value longer than 255 bytes comes in pieces, which belong together (RFC 7208 3.3).
        if text.txt_data.concat() == value.as_bytes() {
            return Seen::Value;
        }
        others += 1;
    }
    if others == 0 { Seen::Nothing } else { Seen::OtherValues(others) }
}

/// For one server's answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// For all of it, waiting for a place included: whoever asked is still there.
const AT_MOST: Duration = Duration::from_secs(8);
/// Name servers that do not answer hold a place each.
const AT_ONCE: usize = 64;
const MOST_ALIASES: usize = 8;

#[cfg(test)]
mod tests {
    use super::{
        super::name_server::{Answer, NameServer, Record},
        *,
    };

    const VALUE: &str = "partywall-domain-verification=dG9rZW4";
    const AT: &str = "_partywall-challenge.example.com";

    struct Dns {
        server: NameServer,
        resolver: Resolver,
    }

    impl Dns {
        async fn new() -> Self {
            let server = NameServer::start().await;
            let resolver = Resolver::new(vec![server.address()]);
            Self { server, resolver }
        }

        async fn look(&self) -> Seen {
            self.resolver.look(&"example.com".parse().unwrap(), VALUE).await
        }

        async fn with(&self, answer: Answer) -> Seen {
            self.server.say(AT, answer);
            self.look().await
        }

        async fn with_texts(&self, texts: &[&str]) -> Seen {
            self.server.publish(AT, texts);
            self.look().await
        }
    }

    #[tokio::test]
    async fn f03_the_whole_value_at_the_label_of_its_own_proves() {
        let dns = Dns::new().await;
        assert_eq!(dns.look().await, Seen::Nothing);
        assert_eq!(dns.with_texts(&[VALUE]).await, Seen::Value);
        assert_eq!(dns.with_texts(&["v=spf1 -all", VALUE, "else"]).await, Seen::Value);
        let pieces = [&VALUE.as_bytes()[..10], &VALUE.as_bytes()[10..]];
        let pieces = Answer::Records(vec![Record::text_in_pieces(&pieces)]);
        assert_eq!(dns.with(pieces).await, Seen::Value, "in pieces, which belong together");
    }

    #[tokio::test]
    async fn f03_part_of_the_value_proves_nothing() {
        let dns = Dns::new().await;
        for wrong in [
            &VALUE[1..],
            &VALUE[..VALUE.len() - 1],
            &format!("{VALUE} "),
            &format!(" {VALUE}"),
            &format!("\"{VALUE}\""),
            &format!("{VALUE}\0"),
            &format!("{VALUE} {VALUE}"),
            &VALUE.to_uppercase(),
            "dG9rZW4",
            "",
        ] {
            assert_eq!(dns.with_texts(&[wrong]).await, Seen::OtherValues(1), "{wrong:?}");
        }
        // Two records are two values, whatever they would be together.
        let (first, second) = VALUE.split_at(12);
        assert_eq!(dns.with_texts(&[first, second]).await, Seen::OtherValues(2));
        assert_eq!(dns.with_texts(&[VALUE]).await, Seen::Value, "the control");
    }

    #[tokio::test]
    async fn f03_another_name_proves_nothing() {
        let dns = Dns::new().await;
        for elsewhere in [
            "example.com",
            "www.example.com",
            "_partywall-challenge.www.example.com",
            "_partywall-challenge.com",
            "_partywall-challenge.badexample.com",
            "partywall-challenge.example.com",
        ] {
            dns.server.publish(elsewhere, &[VALUE]);
            assert_eq!(dns.look().await, Seen::Nothing, "{elsewhere}");
        }
        // Nobody asked for these, and they came along.
        let stranger = Record::text(VALUE).of("_partywall-challenge.stranger.example");
        let answer = Answer::Records(vec![stranger.clone()]);
        assert_ne!(dns.with(answer).await, Seen::Value);
        let answer = Answer::Records(vec![Record::text("other"), stranger.clone()]);
        assert_eq!(dns.with(answer).await, Seen::OtherValues(1));
        // Whoever may write an alias may write the value.
        let alias = Record::alias("_partywall-challenge.stranger.example");
        let answer = Answer::Records(vec![alias.clone(), stranger]);
        assert_eq!(dns.with(answer).await, Seen::Value);
        dns.server.publish("_partywall-challenge.stranger.example", &["other"]);
        assert_eq!(dns.with(Answer::Records(vec![alias.clone()])).await, Seen::OtherValues(1));
        dns.server.publish("_partywall-challenge.stranger.example", &[VALUE]);
        assert_eq!(dns.with(Answer::Records(vec![alias])).await, Seen::Value, "asked again");
        let itself = Answer::Records(vec![Record::alias(AT), Record::alias(AT)]);
        assert_ne!(dns.with(itself).await, Seen::Value, "round and round");
    }

    #[tokio::test]
    async fn i17_no_answer_decides_nothing() {
        let dns = Dns::new().await;
        for (code, name) in [(1, "FORMERR"), (2, "SERVFAIL"), (4, "NOTIMP"), (5, "REFUSED")] {
            assert_eq!(dns.with(Answer::Code(code)).await, Seen::Undecided, "{name}");
        }
        assert_eq!(dns.with(Answer::Code(3)).await, Seen::Nothing, "NXDOMAIN");
        assert_eq!(dns.with(Answer::Code(0)).await, Seen::Nothing, "no records");
        for length in [0, 1, 100, 3000] {
            assert_eq!(dns.with(Answer::Noise(length)).await, Seen::Undecided, "{length} bytes");
        }
        let began = std::time::Instant::now();
        assert_eq!(dns.with(Answer::Silence).await, Seen::Undecided);
        assert!(began.elapsed() < AT_MOST + Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(dns.with_texts(&[VALUE]).await, Seen::Value, "the control");
        let nobody = Resolver::new(vec!["127.0.0.1:9".parse().unwrap()]);
        let looked = nobody.look(&"example.com".parse().unwrap(), VALUE).await;
        assert_eq!(looked, Seen::Undecided);
    }

    #[tokio::test]
    async fn i17_every_record_is_read_however_many_there_are() {
        let dns = Dns::new().await;
        let others: Vec<String> = (0..3000).map(|number| format!("{number}")).collect();
        let mut texts: Vec<&str> = others.iter().map(String::as_str).collect();
        assert_eq!(dns.with_texts(&texts).await, Seen::OtherValues(3000));
        assert!(dns.server.over_tcp() > 0, "too many for UDP");
        texts.push(VALUE);
        assert_eq!(dns.with_texts(&texts).await, Seen::Value);
        let long = "x".repeat(40_000);
        assert_eq!(dns.with_texts(&[&long, VALUE]).await, Seen::Value);
    }

    /// Each look is an answer of its own: nothing is remembered.
    #[tokio::test]
    async fn i17_an_answer_counts_for_one_look() {
        let dns = Dns::new().await;
        for _ in 0..3 {
            assert_eq!(dns.with_texts(&[VALUE]).await, Seen::Value);
            assert_eq!(dns.with_texts(&["other"]).await, Seen::OtherValues(1));
            assert_eq!(dns.with(Answer::Code(3)).await, Seen::Nothing);
        }
        assert!(dns.server.questions() >= 9);
    }
}
