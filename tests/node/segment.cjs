// Sends one of everything with Segment's SDK for Node, unchanged: node segment.cjs URL KEY COUNT
const { Analytics } = require("@segment/analytics-node");
const say = require("./said.cjs");

const [url, key, count] = process.argv.slice(2);
const failures = [];
const client = new Analytics({ writeKey: key, host: url, maxRetries: 0, httpRequestTimeout: 60000 });
client.on("error", (error) => failures.push(String(error.reason?.message ?? error.reason ?? error.code)));

say(client, count);
client.closeAndFlush({ timeout: 60000 }).then(() => console.log(JSON.stringify(failures)));
