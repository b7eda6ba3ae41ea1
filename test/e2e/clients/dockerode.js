// dockerode against davit-api: DOCKER_HOST names the socket, IMAGE an image that is there.
const assert = require('assert');
const {PassThrough} = require('stream');
const Docker = require('dockerode');
const image = process.env.IMAGE;
const docker = new Docker({socketPath: process.env.DOCKER_HOST.replace('unix://', '')});
const text = async (stream) => { const parts = []; for await (const part of stream) parts.push(part); return Buffer.concat(parts).toString(); };
// Both streams of a multiplexed one.
const split = (stream) => new Promise((resolve, reject) => {
  const out = new PassThrough(), err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', async () => { out.end(); err.end(); resolve([await text(out), await text(err)]); });
  stream.on('error', reject);
});
const step = async (name, run) => { await run(); console.log('ok ' + name); };

(async () => {
  await step('ping, version, info', async () => {
    assert.strictEqual((await docker.ping()).toString(), 'OK');
    assert.strictEqual((await docker.version()).Os, 'linux');
    assert.strictEqual((await docker.info()).OSType, 'linux');
  });
  await step('pull', () => new Promise((resolve, reject) => docker.pull(image, (error, stream) => error ? reject(error) :
    docker.modem.followProgress(stream, (failed, output) => failed ? reject(failed) : (assert(output.length > 0), resolve())))));
  await step('run', async () => {
    const out = new PassThrough();
    const [result, container] = await docker.run(image, ['sh', '-c', 'echo from run; exit 4'], out, {Tty: false});
    out.end();
    assert.strictEqual(result.StatusCode, 4);
    assert((await text(out)).includes('from run'));
    await container.remove();
  });
  const container = await docker.createContainer({
    Image: image, name: 'dode', Cmd: ['sh', '-c', 'read line; echo got $line; echo to-err >&2; exec sleep 1000'], OpenStdin: true,
    StdinOnce: true, AttachStdin: true, Labels: {k: 'v'}, ExposedPorts: {'80/tcp': {}}, HostConfig: {PortBindings: {'80/tcp': [{HostPort: '0'}]}}});
  try {
    await step('attach with input', async () => {
      const stream = await container.attach({stream: true, stdin: true, stdout: true, stderr: true, hijack: true});
      await container.start();
      const out = new PassThrough();
      docker.modem.demuxStream(stream, out, new PassThrough());
      stream.write('typed\n');
      const got = await new Promise((resolve) => out.once('data', resolve));
      assert.strictEqual(got.toString(), 'got typed\n');
      stream.destroy();
    });
    await step('inspect, list', async () => {
      const info = await container.inspect();
      assert.strictEqual(info.State.Running, true);
      assert(Number(info.NetworkSettings.Ports['80/tcp'][0].HostPort) > 0);
      const listed = await docker.listContainers({filters: {label: ['k=v']}});
      assert.deepStrictEqual(listed.map((one) => one.Names), [['/dode']]);
    });
    await step('exec', async () => {
      const exec = await container.exec({Cmd: ['sh', '-c', 'cat; echo two >&2; exit 6'], AttachStdin: true, AttachStdout: true, AttachStderr: true});
      const stream = await exec.start({hijack: true, stdin: true});
      const both = split(stream);
      stream.write('one');
      stream.end();
      assert.deepStrictEqual(await both, ['one', 'two\n']);
      assert.strictEqual((await exec.inspect()).ExitCode, 6);
    });
    await step('logs', async () => {
      assert((await container.logs({stdout: true, stderr: true})).toString().includes('got typed'));
      const follow = await container.logs({stdout: true, follow: true});
      const first = await new Promise((resolve) => follow.once('data', resolve));
      assert(first.toString().includes('got typed'));
      follow.destroy();
    });
    await step('stats', async () => {
      assert((await container.stats({stream: false})).memory_stats.usage > 0);
    });
    await step('archive', async () => {
      const exec = await container.exec({Cmd: ['sh', '-c', 'echo kept > /tmp/kept'], AttachStdout: true});
      await text(await exec.start({}));
      assert((await text(await container.getArchive({path: '/tmp/kept'}))).includes('kept\n'));
    });
    await step('events', async () => {
      const events = await docker.getEvents({filters: {container: ['dode'], event: ['kill']}});
      const next = new Promise((resolve) => events.once('data', resolve));
      const waited = container.wait();
      await container.kill();
      assert.strictEqual(JSON.parse((await next).toString()).Action, 'kill');
      events.destroy();
      assert.strictEqual((await waited).StatusCode, 137);
    });
    await step('terminal', async () => {
      const [result, made] = await docker.run(image, ['sh', '-c', 'test -t 1 && echo tty'], new PassThrough(), {Tty: true, HostConfig: {AutoRemove: true}});
      assert.strictEqual(result.StatusCode, 0);
    });
  } finally {
    await container.remove({force: true});
  }
  await step('volumes, networks', async () => {
    const volume = await docker.createVolume({Name: 'dode-v', Labels: {a: 'b'}});
    assert.strictEqual((await docker.getVolume('dode-v').inspect()).Labels.a, 'b');
    await docker.getVolume('dode-v').remove();
    const network = await docker.createNetwork({Name: 'dode-n'});
    assert.strictEqual((await network.inspect()).Name, 'dode-n');
    await network.remove();
  });
  await step('errors', async () => {
    await assert.rejects(docker.getContainer('nosuch').inspect(), (error) => error.statusCode === 404 && error.reason === 'no such container');
    await assert.rejects(docker.getImage('localhost/nosuch').inspect(), (error) => error.statusCode === 404);
  });
  const image_ = docker.getImage(image);
  await step('images', async () => {
    const info = await image_.inspect();
    assert.strictEqual(info.Os, 'linux');
    await image_.tag({repo: 'localhost/dode', tag: '1'});
    assert((await docker.listImages()).some((one) => one.RepoTags.includes('localhost/dode:1')));
    await docker.getImage('localhost/dode:1').remove();
  });
})().catch((error) => { console.error(error); process.exit(1); });
