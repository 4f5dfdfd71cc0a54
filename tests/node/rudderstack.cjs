// Sends one of everything with RudderStack's SDK for Node, unchanged: node rudderstack.cjs URL KEY COUNT
const Analytics = require("@rudderstack/rudder-sdk-node");
const say = require("./said.cjs");

const [url, key, count] = process.argv.slice(2);
const failures = [];
const client = new Analytics(key, {
  dataPlaneUrl: url,
  retryCount: 0,
  errorHandler: (error) => failures.push(String(error.response?.data?.message ?? error.message)),
});

say(client, count);
// Since it is a promise of one batch only, it is asked until nothing is left.
(async () => {
  while (client.queue.length && !failures.length) await client.flush().catch(() => {});
  await client.flush().catch(() => {});
  console.log(JSON.stringify(failures));
})();
