// One of everything, and COUNT events more, said to a client of either SDK: they are called alike.
module.exports = (client, count) => {
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
};
