//! `partywall client`: machines, which act for their tenant by themselves, and applications, which
//! sign people in.

use std::{process::ExitCode, time::Duration};

use partywall::Role;
use partywall_server::{
    Application, ApplicationId, ApplicationStatus, ClientAuthentication, ClientId, Machine,
    MachineStatus, NewApplication, NewMachine, Registration, Scope, Tenant,
};
use serde_json::{Value, json};

use super::{AdminError, Common, Desk, PAGE, each_page, read};
use crate::terminal::Terminal;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the machines and applications of a tenant, or the vendor's applications
    List {
        /// The tenant's id or slug; the vendor's own applications where it is not said
        tenant: Option<String>,
    },
    /// Make a machine of a tenant, or with --redirect-uri an application
    Create(Box<New>),
    /// Show a client
    Show(Which),
    /// Give a client a new secret
    Rotate {
        #[command(flatten)]
        which: Which,
        /// For how many seconds the old secret stays good
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap: u32,
    },
    /// End a client for good
    Revoke(Which),
}

#[derive(clap::Args)]
struct New {
    /// What people call it
    name: String,
    /// The tenant's id or slug; the vendor's application where it is not said
    #[arg(long)]
    tenant: Option<String>,
    /// What a machine may be inside its tenant; may be repeated
    #[arg(long = "role", value_name = "ROLE", conflicts_with = "redirect_uris")]
    roles: Vec<String>,
    /// What its tokens may be asked to carry; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Where an application gets its codes; may be repeated
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// An application without a secret, such as one in a browser or on a phone
    #[arg(long, requires = "redirect_uris")]
    public: bool,
}

#[derive(clap::Args)]
struct Which {
    /// Its client id
    client: String,
    /// The tenant's id or slug; the vendor's application where it is not said
    #[arg(long)]
    tenant: Option<String>,
}

pub(crate) fn run(args: &Args, terminal: &Terminal) -> ExitCode {
    super::run(&args.common, terminal, async |desk: &Desk| act(desk, &args.command).await)
}

async fn act(desk: &Desk, command: &Command) -> Result<(), AdminError> {
    match command {
        Command::List { tenant } => list(desk, tenant.as_deref()).await,
        Command::Create(new) => create(desk, new).await,
        Command::Show(which) => match which.find(desk).await? {
            Client::Machine(machine) => desk.say(&of_machine(&machine), &machine_line(&machine)),
            Client::Application(app) => desk.say(&of_application(&app), &application_line(&app)),
        },
        Command::Rotate { which, overlap } => {
            rotate(desk, which, Duration::from_secs((*overlap).into())).await
        }
        Command::Revoke(which) => revoke(desk, which).await,
    }
}

async fn list(desk: &Desk, tenant: Option<&str>) -> Result<(), AdminError> {
    let control = &desk.control;
    let tenant = of(desk, tenant).await?;
    let tenant = tenant.as_ref().map(Tenant::id);
    if let Some(tenant) = tenant {
        each_page!(
            after => control.list_machines(tenant, after.as_ref(), PAGE).await?,
            |last: &Machine| last.client_id.clone(),
            machine => desk.say(&of_machine(machine), &machine_line(machine))?
        );
    }
    each_page!(
        after => control.list_applications(tenant, after.as_ref(), PAGE).await?,
        |last: &Application| last.client_id.clone(),
        app => desk.say(&of_application(app), &application_line(app))?
    );
    Ok(())
}

async fn create(desk: &Desk, new: &New) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    let tenant = of(desk, new.tenant.as_deref()).await?;
    let scopes = new.scopes.iter().map(|scope| read::<Scope>("scope", scope));
    let scopes = scopes.collect::<Result<_, _>>()?;
    if new.redirect_uris.is_empty() {
        let Some(tenant) = tenant else {
            return Err(AdminError::Argument {
                what: "client",
                given: new.name.clone(),
                why: "say --tenant for a machine, or --redirect-uri for an application".to_owned(),
            });
        };
        let roles = new.roles.iter().map(|role| Role::from(role.as_str())).collect();
        let machine = NewMachine { name: new.name.clone(), roles, scopes };
        let made = control.create_machine(actor, tenant.id(), machine).await?;
        return hand_over(desk, made.client_id.as_str(), Some(made.secret.expose()));
    }
    let application = NewApplication {
        name: new.name.clone(),
        authentication: if new.public {
            ClientAuthentication::None
        } else {
            ClientAuthentication::ClientSecret
        },
        jwks: None,
        registration: Registration {
            redirect_uris: new.redirect_uris.clone(),
            scopes,
            ..Registration::default()
        },
    };
    let made = control.create_application(actor, tenant.as_ref().map(Tenant::id), application);
    let made = made.await?;
    let secret = made.secret.as_ref().map(|secret| secret.expose());
    hand_over(desk, made.client_id.as_str(), secret)
}

fn hand_over(desk: &Desk, client: &str, secret: Option<&str>) -> Result<(), AdminError> {
    let object = json!({ "client_id": client, "secret": secret });
    match secret {
        Some(secret) => desk.hand_over(
            &object,
            &format!("client {client}; its secret, shown only now:"),
            secret,
        ),
        None => desk.say(&object, client),
    }
}

async fn rotate(desk: &Desk, which: &Which, overlap: Duration) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    match which.find(desk).await? {
        Client::Machine(machine) => {
            let (tenant, client) = (&machine.tenant, &machine.client_id);
            let made = control.rotate_secret_of_machine(actor, tenant, client, overlap).await?;
            hand_over(desk, made.client_id.as_str(), Some(made.secret.expose()))
        }
        Client::Application(app) => {
            let (tenant, client) = (app.tenant.as_ref(), &app.client_id);
            let made = control.rotate_application_secret(actor, tenant, client, overlap).await?;
            let secret = made.secret.as_ref().map(|secret| secret.expose());
            hand_over(desk, made.client_id.as_str(), secret)
        }
    }
}

async fn revoke(desk: &Desk, which: &Which) -> Result<(), AdminError> {
    let Desk { control, actor, .. } = desk;
    match which.find(desk).await? {
        Client::Machine(machine) => {
            let (tenant, client) = (&machine.tenant, &machine.client_id);
            control.revoke_machine_of(actor, tenant, client, |_| true).await?;
        }
        Client::Application(app) => {
            let (tenant, client) = (app.tenant.as_ref(), &app.client_id);
            control.revoke_application(actor, tenant, client, |_| true).await?;
        }
    }
    let object = json!({ "client_id": which.client, "revoked": true });
    desk.done(&object, "the client is revoked")
}

enum Client {
    Machine(Box<Machine>),
    Application(Box<Application>),
}

impl Which {
    async fn find(&self, desk: &Desk) -> Result<Client, AdminError> {
        let tenant = of(desk, self.tenant.as_deref()).await?;
        let tenant = tenant.as_ref().map(Tenant::id);
        let nothing = || AdminError::Nothing { kind: "client", id: self.client.clone() };
        if let Ok(client) = self.client.parse::<ApplicationId>() {
            let app = desk.control.application_of(tenant, &client).await?;
            return app.map(|app| Client::Application(Box::new(app))).ok_or_else(nothing);
        }
        let client: ClientId = read("client", &self.client)?;
        let machine = match tenant {
            Some(tenant) => desk.control.machine_of(tenant, &client).await?,
            // A machine's id says whose it is to whoever may see all of them.
            None => desk.control.machine(&client).await?,
        };
        machine.map(|machine| Client::Machine(Box::new(machine))).ok_or_else(nothing)
    }
}

async fn of(desk: &Desk, tenant: Option<&str>) -> Result<Option<Tenant>, AdminError> {
    match tenant {
        Some(tenant) => desk.tenant(tenant).await.map(Some),
        None => Ok(None),
    }
}

fn of_machine(machine: &Machine) -> Value {
    json!({
        "client_id": machine.client_id, "kind": "machine", "tenant": machine.tenant,
        "name": machine.name, "status": machine_status(machine), "roles": machine.roles,
        "scopes": machine.scopes,
    })
}

fn machine_status(machine: &Machine) -> &'static str {
    match machine.status {
        MachineStatus::Active => "active",
        MachineStatus::Revoked => "revoked",
    }
}

fn of_application(app: &Application) -> Value {
    json!({
        "client_id": app.client_id, "kind": "application", "tenant": app.tenant, "name": app.name,
        "status": app.status, "authentication": app.authentication,
        "registration": app.registration,
    })
}

fn machine_line(machine: &Machine) -> String {
    format!("{}  machine  {}  {}", machine.client_id, machine_status(machine), machine.name)
}

fn application_line(app: &Application) -> String {
    let status = match app.status {
        ApplicationStatus::Active => "active",
        ApplicationStatus::Revoked => "revoked",
    };
    format!("{}  application  {status}  {}", app.client_id, app.name)
}
