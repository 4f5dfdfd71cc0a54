// Sends one of everything with Segment's SDK for Node, unchanged: node segment.cjs URL KEY COUNT
const { Analytics } = require("@segment/analytics-node");

const [url, key, count] = process.argv.slice(2);
const failures = [];
const client = new Analytics({ writeKey: key, host: url, maxRetries: 0, httpRequestTimeout: 60000 });
client.on("error", (error) => failures.push(String(error.reason?.message ?? error.reason ?? error.code)));

const order = {
  order_id: "17",
  total: 49.9,
  currency: "KES",
  products: [{ sku: "MUG-1", quantity: 2, price: 20 }],
};
client.track({ anonymousId: "browser-1", event: "Product Viewed", properties: { sku: "MUG-1" } });
client.alias({ userId: "amina", previousId: "browser-1" });
client.identify({ userId: "amina", traits: { email: "amina@shop.example", firstName: "Amina", tier: "gold" } });
client.track({ userId: "amina", event: "Order Completed", properties: order, timestamp: new Date(Date.now() - 3600000) });
client.page({ userId: "amina", category: "shop", name: "Home", properties: { url: "https://duka.example" } });
client.screen({ userId: "amina", name: "Home" });
client.group({ userId: "amina", groupId: "g1", traits: { plan: "pro" } });
for (let n = 0; n < Number(count); n++) client.track({ userId: `c${n % 7}`, event: "Ping", properties: { n } });
client.closeAndFlush({ timeout: 60000 }).then(() => console.log(JSON.stringify(failures)));
