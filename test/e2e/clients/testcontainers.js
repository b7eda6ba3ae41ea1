// testcontainers of npm against davit-api: a server and a client on a network of their own, found by name.
const assert = require('assert');
const {GenericContainer, Wait, Network} = require('testcontainers');
const image = process.env.IMAGE;
(async () => {
  const network = await new Network().start();
  const server = await new GenericContainer(image).withNetwork(network).withNetworkAliases('server').withExposedPorts(8080)
    .withCommand(['sh', '-c', 'mkdir /w; echo served > /w/index.html; echo ready; exec httpd -f -p 8080 -h /w'])
    .withWaitStrategy(Wait.forLogMessage('ready')).start();
  const port = server.getMappedPort(8080);
  assert(port > 0);
  const answer = await fetch(`http://${server.getHost()}:${port}/index.html`);
  assert.strictEqual(await answer.text(), 'served\n');
  const client = await new GenericContainer(image).withNetwork(network).withCommand(['sleep', '1000']).withCopyContentToContainer([{content: 'copied', target: '/tmp/c'}]).withHealthCheck({test: ['CMD', 'true'], interval: 1000, timeout: 1000, retries: 5, startPeriod: 0}).withWaitStrategy(Wait.forHealthCheck()).start();
  const got = await client.exec(['wget', '-qO-', 'http://server:8080/index.html']);
  assert.deepStrictEqual([got.exitCode, got.output], [0, 'served\n']);
  assert.strictEqual((await client.exec(['cat', '/tmp/c'])).output, 'copied');
  await client.stop();
  await server.stop();
  await network.stop();
  console.log('ok testcontainers');
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
