//! Every endpoint: where it is, what it takes, what it answers, and who does it.

use axum::{
    handler::Handler,
    routing::{self, MethodRouter},
};
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema},
};

use super::{
    api_keys, applications, connections, domains, machines, memberships, scim_tokens, sessions,
    setup_links, sign_in, signing_keys, tenants, trail, users,
};
use crate::control::{
    AdministratorPatch, ApplicationPatch, Branding, ConnectionPatch, ControlPlane, MachinePatch,
    NewApiKey, NewApplication, NewConnection, NewMachine, NewScimToken, NewSetupLink, NewTenant,
    NewUser, SignInPolicy, TenantPatch, UserPatch,
};

/// One endpoint, for the router and for the document.
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    /// Below [`PATH`](super::PATH).
    pub(super) path: &'static str,
    /// Its `operationId`.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) handler: MethodRouter<ControlPlane>,
    pub(super) body: Option<Shape>,
    pub(super) status: u16,
    pub(super) answer: Option<Shape>,
    /// Whether it answers with a page of `answer`.
    pub(super) paged: bool,
    /// Whether it asks for `If-Match`.
    pub(super) guarded: bool,
    /// Whether only operators may.
    pub(super) for_operators: bool,
}

/// A type, as the document describes it.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) schemas: Vec<(String, RefOr<schema::Schema>)>,
}

impl Shape {
    fn of<T: ToSchema>() -> Self {
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        schemas.push((T::name().into_owned(), T::schema()));
        Self { name: T::name().into_owned(), schemas }
    }
}

impl Endpoint {
    fn at<H: Handler<T, ControlPlane>, T: 'static>(
        method: &'static str,
        path: &'static str,
        (id, summary): (&'static str, &'static str),
        handler: H,
    ) -> Self {
        let (handler, status) = match method {
            "POST" => (routing::post(handler), 201),
            "PUT" => (routing::put(handler), 200),
            "PATCH" => (routing::patch(handler), 200),
            "DELETE" => (routing::delete(handler), 204),
            _ => (routing::get(handler), 200),
        };
        Self {
            method,
            path,
            id,
            summary,
            handler,
            body: None,
            status,
            answer: None,
            paged: false,
            guarded: false,
            for_operators: false,
        }
    }

    fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Shape::of::<T>());
        self
    }

    fn answers<T: ToSchema>(mut self) -> Self {
        self.answer = Some(Shape::of::<T>());
        self
    }

    fn pages<T: ToSchema>(mut self) -> Self {
        self.paged = true;
        self.answers::<T>()
    }

    fn with(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    fn for_operators(mut self) -> Self {
        self.for_operators = true;
        self
    }
}

pub(super) fn all() -> Vec<Endpoint> {
    [
        of_tenants(),
        of_users(),
        of_clients(),
        of_sign_in(),
        of_connections(),
        of_domains(),
        of_the_vendor(),
        of_provisioning(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_tenants() -> Vec<Endpoint> {
    type View = tenants::TenantView;
    let at = "/tenants/{tenant}";
    vec![
        Endpoint::at(
            "GET",
            "/tenants",
            ("listTenants", "The tenants: for an administrator, their own"),
            tenants::list,
        )
        .pages::<View>(),
        Endpoint::at("POST", "/tenants", ("createTenant", "Make a tenant"), tenants::create)
            .takes::<NewTenant>()
            .answers::<View>()
            .for_operators(),
        Endpoint::at("GET", at, ("getTenant", "A tenant"), tenants::get).answers::<View>(),
        Endpoint::at(
            "PATCH",
            at,
            ("updateTenant", "Change status, tier, placement or profile"),
            tenants::update,
        )
        .takes::<TenantPatch>()
        .answers::<View>()
        .guarded()
        .for_operators(),
        Endpoint::at(
            "DELETE",
            at,
            ("eraseTenant", "Erase a tenant that is pending erasure"),
            tenants::erase,
        )
        .guarded()
        .for_operators(),
        Endpoint::at(
            "PATCH",
            "/tenants/{tenant}/profile",
            ("updateTenantProfile", "Change what an administrator may change of their tenant"),
            tenants::update_profile,
        )
        .takes::<AdministratorPatch>()
        .answers::<View>()
        .guarded(),
        Endpoint::at(
            "PUT",
            "/tenants/{tenant}/issuer",
            ("putTenantIssuer", "Give a tenant an issuer of its own, or take it back"),
            tenants::put_issuer,
        )
        .takes::<tenants::NewIssuer>()
        .answers::<tenants::IssuerView>()
        .with(200)
        .for_operators(),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/epoch",
            ("bumpTenantEpoch", "Refuse every token issued for the tenant so far"),
            tenants::bump_epoch,
        )
        .answers::<View>()
        .with(200),
        Endpoint::at(
            "GET",
            "/tenants/{tenant}/audit-events",
            ("listAuditEvents", "Who changed what, newest first"),
            trail::audit,
        )
        .pages::<trail::AuditView>(),
        Endpoint::at(
            "GET",
            "/tenants/{tenant}/security-events",
            ("listSecurityEvents", "What happened at the tenant's door, newest first"),
            trail::security,
        )
        .pages::<trail::SecurityView>(),
    ]
}

fn of_users() -> Vec<Endpoint> {
    type View = users::UserView;
    let (all, at) = ("/tenants/{tenant}/users", "/tenants/{tenant}/users/{user}");
    vec![
        Endpoint::at("GET", all, ("listUsers", "The users of a tenant"), users::list)
            .pages::<View>(),
        Endpoint::at("POST", all, ("createUser", "Ask somebody in"), users::create)
            .takes::<NewUser>()
            .answers::<View>(),
        Endpoint::at("GET", at, ("getUser", "A user"), users::get).answers::<View>(),
        Endpoint::at(
            "PATCH",
            at,
            ("updateUser", "Change a user, suspend it, let it in again"),
            users::update,
        )
        .takes::<UserPatch>()
        .answers::<View>()
        .guarded(),
        Endpoint::at(
            "DELETE",
            at,
            ("deleteUser", "Delete a user and what it had in the tenant"),
            users::delete,
        )
        .guarded(),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/users/{user}/invitation",
            ("inviteUser", "Write the invitation again"),
            users::invite,
        )
        .with(204),
        Endpoint::at(
            "GET",
            "/tenants/{tenant}/users/{user}/memberships",
            ("listMemberships", "What else the same person is"),
            memberships::list,
        )
        .pages::<memberships::MembershipView>()
        .for_operators(),
        Endpoint::at(
            "GET",
            "/tenants/{tenant}/users/{user}/sessions",
            ("listSessions", "Where a user is signed in"),
            sessions::list,
        )
        .pages::<sessions::SessionView>(),
        Endpoint::at(
            "DELETE",
            "/tenants/{tenant}/users/{user}/sessions",
            ("revokeSessions", "Sign a user out everywhere"),
            sessions::revoke_all,
        ),
        Endpoint::at(
            "DELETE",
            "/tenants/{tenant}/users/{user}/sessions/{session}",
            ("revokeSession", "Sign a user out in one browser"),
            sessions::revoke,
        ),
    ]
}

fn of_clients() -> Vec<Endpoint> {
    let (machines_at, machine_at) =
        ("/tenants/{tenant}/machines", "/tenants/{tenant}/machines/{machine}");
    let (keys_at, key_at) = ("/tenants/{tenant}/api-keys", "/tenants/{tenant}/api-keys/{key}");
    let mut all = vec![
        Endpoint::at(
            "GET",
            machines_at,
            ("listMachines", "The machines of a tenant"),
            machines::list,
        )
        .pages::<machines::MachineView>(),
        Endpoint::at(
            "POST",
            machines_at,
            ("createMachine", "Make a machine; its secret is shown once"),
            machines::create,
        )
        .takes::<NewMachine>()
        .answers::<machines::CredentialsView>(),
        Endpoint::at("GET", machine_at, ("getMachine", "A machine"), machines::get)
            .answers::<machines::MachineView>(),
        Endpoint::at(
            "PATCH",
            machine_at,
            ("updateMachine", "Change a machine's name, roles or scopes"),
            machines::update,
        )
        .takes::<MachinePatch>()
        .answers::<machines::MachineView>()
        .guarded(),
        Endpoint::at(
            "DELETE",
            machine_at,
            ("revokeMachine", "End a machine and its tokens, for good"),
            machines::revoke,
        )
        .guarded(),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/machines/{machine}/secret",
            (
                "rotateMachineSecret",
                "Give a machine a new secret; the old one stays good for the overlap",
            ),
            machines::rotate,
        )
        .takes::<machines::Rotation>()
        .answers::<machines::CredentialsView>()
        .with(200),
        Endpoint::at("GET", keys_at, ("listApiKeys", "The API keys of a tenant"), api_keys::list)
            .pages::<api_keys::ApiKeyView>(),
        Endpoint::at(
            "POST",
            keys_at,
            ("createApiKey", "Make an API key for a machine or for oneself; it is shown once"),
            api_keys::create,
        )
        .takes::<NewApiKey>()
        .answers::<api_keys::ApiKeyCredentialsView>(),
        Endpoint::at("GET", key_at, ("getApiKey", "An API key"), api_keys::get)
            .answers::<api_keys::ApiKeyView>(),
        Endpoint::at(
            "DELETE",
            key_at,
            ("revokeApiKey", "End an API key and its tokens, for good"),
            api_keys::revoke,
        ),
    ];
    all.extend(of_applications(
        [
            "/tenants/{tenant}/applications",
            "/tenants/{tenant}/applications/{application}",
            "/tenants/{tenant}/applications/{application}/secret",
        ],
        [
            "listTenantApplications",
            "createTenantApplication",
            "getTenantApplication",
            "updateTenantApplication",
            "revokeTenantApplication",
            "rotateTenantApplicationSecret",
        ],
    ));
    all
}

fn of_applications([all, at, secret]: [&'static str; 3], ids: [&'static str; 6]) -> Vec<Endpoint> {
    let [list, create, get, update, revoke, rotate] = ids;
    vec![
        Endpoint::at("GET", all, (list, "The applications"), applications::list)
            .pages::<applications::ApplicationView>(),
        Endpoint::at(
            "POST",
            all,
            (create, "Register an application; its secret, if any, is shown once"),
            applications::create,
        )
        .takes::<NewApplication>()
        .answers::<machines::CredentialsView>(),
        Endpoint::at("GET", at, (get, "An application"), applications::get)
            .answers::<applications::ApplicationView>(),
        Endpoint::at(
            "PATCH",
            at,
            (update, "Change what an application registered"),
            applications::update,
        )
        .takes::<ApplicationPatch>()
        .answers::<applications::ApplicationView>()
        .guarded(),
        Endpoint::at("DELETE", at, (revoke, "End an application, for good"), applications::revoke)
            .guarded(),
        Endpoint::at(
            "POST",
            secret,
            (rotate, "Give an application a new secret; the old one stays good for the overlap"),
            applications::rotate,
        )
        .takes::<machines::Rotation>()
        .answers::<machines::CredentialsView>()
        .with(200),
    ]
}

fn of_sign_in() -> Vec<Endpoint> {
    let (policy, branding) = ("/tenants/{tenant}/sign-in-policy", "/tenants/{tenant}/branding");
    vec![
        Endpoint::at(
            "GET",
            policy,
            ("getSignInPolicy", "What a tenant asks of whoever enters"),
            sign_in::get_policy,
        )
        .answers::<SignInPolicy>(),
        Endpoint::at(
            "PUT",
            policy,
            ("putSignInPolicy", "Replace the sign-in policy"),
            sign_in::put_policy,
        )
        .takes::<SignInPolicy>()
        .answers::<SignInPolicy>()
        .guarded(),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/sign-in-policy/dry-run",
            ("previewSignInPolicy", "Say who a policy would lock out, and set nothing"),
            sign_in::preview,
        )
        .takes::<SignInPolicy>()
        .answers::<sign_in::PreviewView>()
        .with(200),
        Endpoint::at(
            "GET",
            branding,
            ("getBranding", "How a tenant's pages look"),
            sign_in::get_branding,
        )
        .answers::<Branding>(),
        Endpoint::at(
            "PUT",
            branding,
            ("putBranding", "Replace how a tenant's pages look"),
            sign_in::put_branding,
        )
        .takes::<Branding>()
        .answers::<Branding>()
        .guarded(),
    ]
}

fn of_domains() -> Vec<Endpoint> {
    let (all, at) = ("/tenants/{tenant}/domains", "/tenants/{tenant}/domains/{domain}");
    vec![
        Endpoint::at("GET", all, ("listDomains", "The domains a tenant claims"), domains::list)
            .pages::<domains::DomainView>(),
        Endpoint::at(
            "POST",
            all,
            ("claimDomain", "Claim a domain; the answer says what to publish to prove it"),
            domains::claim,
        )
        .takes::<domains::Claim>()
        .answers::<domains::DomainView>(),
        Endpoint::at("GET", at, ("getDomain", "A domain and its record"), domains::get)
            .answers::<domains::DomainView>(),
        Endpoint::at(
            "PATCH",
            at,
            ("updateDomain", "Say to which connection people at a domain are sent"),
            domains::update,
        )
        .takes::<domains::Route>()
        .answers::<domains::DomainView>()
        .guarded(),
        Endpoint::at("DELETE", at, ("removeDomain", "Give a domain up"), domains::remove).guarded(),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/domains/{domain}/check",
            ("checkDomain", "Ask DNS for a domain's record now"),
            domains::check,
        )
        .answers::<domains::DomainView>()
        .with(200),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/setup-links",
            (
                "createSetupLink",
                "Make a link by which somebody sets up how a tenant signs in; it is shown once",
            ),
            setup_links::create,
        )
        .takes::<NewSetupLink>()
        .answers::<setup_links::LinkView>(),
        Endpoint::at(
            "DELETE",
            "/tenants/{tenant}/setup-links/{link}",
            ("revokeSetupLink", "End a setup link, and the work of whoever opened it"),
            setup_links::revoke,
        ),
    ]
}

fn of_connections() -> Vec<Endpoint> {
    type View = connections::ConnectionView;
    let (all, at) = ("/tenants/{tenant}/connections", "/tenants/{tenant}/connections/{connection}");
    vec![
        Endpoint::at(
            "GET",
            all,
            ("listConnections", "A tenant's own identity providers"),
            connections::list,
        )
        .pages::<View>(),
        Endpoint::at(
            "POST",
            all,
            ("createConnection", "Register an identity provider, as a draft"),
            connections::create,
        )
        .takes::<NewConnection>()
        .answers::<View>(),
        Endpoint::at("GET", at, ("getConnection", "A connection"), connections::get)
            .answers::<View>(),
        Endpoint::at(
            "PATCH",
            at,
            ("updateConnection", "Change a connection, activate it, disable it"),
            connections::update,
        )
        .takes::<ConnectionPatch>()
        .answers::<View>()
        .guarded(),
        Endpoint::at(
            "POST",
            "/tenants/{tenant}/connections/{connection}/key",
            ("turnConnectionKey", "Take a step in changing our own key of a SAML connection"),
            connections::turn_key,
        )
        .takes::<connections::KeyTurn>()
        .answers::<View>()
        .with(200),
        Endpoint::at(
            "DELETE",
            at,
            ("deleteConnection", "Delete a connection and what began through it"),
            connections::delete,
        )
        .guarded(),
    ]
}

fn of_provisioning() -> Vec<Endpoint> {
    let all = "/tenants/{tenant}/connections/{connection}/scim-tokens";
    vec![
        Endpoint::at(
            "GET",
            all,
            ("listScimTokens", "The tokens a connection provisions with"),
            scim_tokens::list,
        )
        .answers::<scim_tokens::ScimTokensView>(),
        Endpoint::at(
            "POST",
            all,
            ("createScimToken", "Let a connection's provider provision users by SCIM"),
            scim_tokens::create,
        )
        .takes::<NewScimToken>()
        .answers::<scim_tokens::ScimTokenCredentialsView>(),
        Endpoint::at(
            "DELETE",
            "/tenants/{tenant}/connections/{connection}/scim-tokens/{scim_token}",
            ("revokeScimToken", "End a SCIM token"),
            scim_tokens::revoke,
        ),
    ]
}

fn of_the_vendor() -> Vec<Endpoint> {
    let mut all = of_applications(
        ["/applications", "/applications/{application}", "/applications/{application}/secret"],
        [
            "listApplications",
            "createApplication",
            "getApplication",
            "updateApplication",
            "revokeApplication",
            "rotateApplicationSecret",
        ],
    );
    all.extend([
        Endpoint::at(
            "GET",
            "/signing-keys",
            ("listSigningKeys", "The keys that sign tokens"),
            signing_keys::list,
        )
        .answers::<signing_keys::KeysView>(),
        Endpoint::at(
            "POST",
            "/signing-keys",
            ("rotateSigningKeys", "Publish the next key now"),
            signing_keys::rotate,
        )
        .answers::<signing_keys::KeysView>()
        .with(200),
        Endpoint::at(
            "DELETE",
            "/signing-keys/{key}",
            ("withdrawSigningKey", "Take a key out of use at once"),
            signing_keys::withdraw,
        ),
        Endpoint::at(
            "GET",
            "/audit-events",
            ("listOperatorAuditEvents", "Changes that are no tenant's, newest first"),
            trail::operators_audit,
        )
        .pages::<trail::AuditView>(),
    ]);
    all.into_iter().map(Endpoint::for_operators).collect()
}
