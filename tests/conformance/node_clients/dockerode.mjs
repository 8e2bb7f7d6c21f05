// What a program does with dockerode, a line of JSON for each step: [name, result].
import { PassThrough } from "node:stream";
import Docker from "dockerode";
import tar from "tar-fs";

const [registry, folder] = process.argv.slice(2);
const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });
const tell = (...words) => console.log(JSON.stringify(words));
const none = { NetworkMode: "none" };

function sink() {
  const made = new PassThrough();
  made.text = "";
  made.on("data", (piece) => (made.text += piece));
  return made;
}

function progress(stream) {
  return new Promise((resolve, reject) =>
    docker.modem.followProgress(stream, (error, told) => (error ? reject(error) : resolve(told))),
  );
}

const out = sink();
const err = sink();
const script = ["sh", "-c", "echo out; echo err >&2; exit 3"];
const [ended, first] = await docker.run("box:1", script, [out, err], { Tty: false, HostConfig: none });
await first.remove();
tell("run", ended.StatusCode, out.text, err.text);

const terminal = sink();
const options = { Tty: true, HostConfig: { ...none, AutoRemove: true } };
const [gone] = await docker.run("box:1", ["tty"], terminal, options);
tell("run with a terminal, removed by itself", gone.StatusCode, terminal.text);

const cat = await docker.createContainer({
  Image: "box:1", Cmd: ["cat"], OpenStdin: true, StdinOnce: true, AttachStdin: true, HostConfig: none,
});
const typed = await cat.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
const echoed = sink();
docker.modem.demuxStream(typed, echoed, echoed);
await cat.start();
typed.end("typed\n");
tell("attach", (await cat.wait()).StatusCode, echoed.text);
await cat.remove();

const box = await docker.createContainer({ Image: "box:1", Cmd: ["sleep", "1000"], name: "dode", HostConfig: none });
await box.start();
const exec = await box.exec({
  Cmd: ["sh", "-c", "cat; exit 4"], AttachStdin: true, AttachStdout: true, AttachStderr: true,
});
const inside = await exec.start({ hijack: true, stdin: true });
const said = sink();
docker.modem.demuxStream(inside, said, said);
inside.end("inside\n");
await new Promise((resolve) => inside.on("end", resolve));
tell("exec", (await exec.inspect()).ExitCode, said.text);

const figures = await box.stats({ stream: true });
await new Promise((resolve) => figures.once("data", resolve)).then((data) => tell("stats", JSON.parse(data).name));
figures.destroy();

await box.putArchive(tar.pack(folder), { path: "/tmp" });
let size = 0;
for await (const piece of await box.getArchive({ path: "/tmp/x" })) size += piece.length;
tell("archive", size > 0);

const happening = await docker.getEvents({ filters: { container: ["dode"], event: ["die"] } });
const event = new Promise((resolve) => happening.once("data", resolve));
await box.kill();
tell("events", JSON.parse(await event).Action);
happening.destroy();
await box.remove();

const built = await progress(await docker.buildImage({ context: folder, src: ["Dockerfile", "x"] }, { t: "dode:1" }));
tell("build", built.at(-1).stream);
await docker.getImage("dode:1").tag({ repo: `${registry}/dode`, tag: "1" });
const pushed = await progress(await docker.getImage(`${registry}/dode:1`).push({ authconfig: { serveraddress: registry } }));
tell("push", pushed.at(-1).aux.Tag);
await docker.getImage(`${registry}/dode:1`).remove();
await docker.getImage("dode:1").remove();
const pulled = await progress(await docker.pull(`${registry}/dode:1`));
tell("pull", pulled.at(-1).status);
await docker.pull(`${registry}/nosuch:1`).catch((error) => tell("pull what there is not", error.statusCode));

const network = await docker.createNetwork({ Name: "dnet", Internal: true });
tell("network", (await network.inspect()).Internal);
await network.remove();
await docker.createVolume({ Name: "dvol" });
tell("volume", (await docker.getVolume("dvol").inspect()).Driver);
await docker.getVolume("dvol").remove();
await docker.getContainer("nosuch").inspect().catch((error) => tell("error", error.statusCode, error.json));
tell("left", (await docker.listContainers({ all: true })).length);
