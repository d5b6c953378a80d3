// panva's certified OpenID provider, with its own pages for login and consent, for the tests of signing in.
// Speaks to the test on standard input and output, one JSON object a line: what is written to it changes the provider.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

const state = {
  redirect_uri: "http://127.0.0.1:1/callback",
  signed_out_uri: "http://127.0.0.1:1/",
  people: {},
  claims_in_id_token: false,
  alg: "RS256",
  auth_method: "client_secret_basic",
};
let keys = [];
let issuer = "";
let handle;

const newKey = () => {
  const made = state.alg.startsWith("ES")
    ? generateKeyPairSync("ec", { namedCurve: "P-256" })
    : generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...made.privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: state.alg };
};

function build() {
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "gate",
        client_secret: "s3cret with / + and : in it, which is long enough",
        redirect_uris: [state.redirect_uri],
        post_logout_redirect_uris: [state.signed_out_uri],
        id_token_signed_response_alg: state.alg,
        token_endpoint_auth_method: state.auth_method,
      },
    ],
    jwks: { keys },
    claims: { email: ["email", "email_verified"], profile: ["name", "preferred_username", "groups"] },
    conformIdTokenClaims: !state.claims_in_id_token,
    cookies: { keys: ["for the tests only"] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...state.people[id] }) }),
    pkce: { required: () => true },
    ttl: { Interaction: 600, Session: 600, Grant: 600, IdToken: 600, AccessToken: 600, AuthorizationCode: 60 },
  });
  handle = provider.callback();
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.warn = console.info = () => {}; // it warns of its own login pages
const server = createServer((request, response) => handle(request, response));
server.listen(0, "127.0.0.1", () => {
  issuer = `http://localhost:${server.address().port}`;
  keys = [newKey()];
  build();
  say({ issuer });
});

for await (const line of createInterface({ input: process.stdin })) {
  const { rotate, ...changed } = JSON.parse(line);
  Object.assign(state, changed);
  if (rotate || changed.alg) keys = [newKey()];
  build();
  say({ done: true });
}
process.exit(0);
