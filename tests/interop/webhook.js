// Verifies a webhook with the JavaScript library of Standard Webhooks: {secret, headers, body} on standard input.
import { Webhook } from "standardwebhooks";

let text = "";
for await (const piece of process.stdin) text += piece;
const { secret, headers, body } = JSON.parse(text);
try {
  process.stdout.write(JSON.stringify({ payload: new Webhook(secret).verify(body, headers) }));
} catch (error) {
  process.stdout.write(JSON.stringify({ refused: error.name, why: error.message }));
}
