// A session of testcontainers: [name, result] for each step. With the word "killed" it ends as a crash does.
import { GenericContainer, Network, Wait } from "testcontainers";

const tell = (...words) => console.log(JSON.stringify(words));

const network = await new Network().start();
const server = await new GenericContainer("box:1")
  .withCommand(["sh", "-c", "echo ready; while true; do { echo; cat /tmp/answer; } | nc -l -p 80; done"])
  .withNetwork(network)
  .withNetworkAliases("db")
  .withExposedPorts(80)
  .withCopyContentToContainer([{ content: "copied", target: "/tmp/answer" }])
  .withWaitStrategy(Wait.forLogMessage("ready"))
  .start();
tell("exec", await server.exec(["sh", "-c", "echo out; echo err >&2; exit 3"]));

const image = await GenericContainer.fromDockerfile(process.argv[2]).build();
const client = await image
  .withNetwork(network)
  .withCommand(["sleep", "1000"])
  .withHealthCheck({ test: ["CMD", "true"], interval: 100, timeout: 1000, retries: 50, startPeriod: 0 })
  .withWaitStrategy(Wait.forHealthCheck())
  .start();
tell("built, healthy, and reaches the other", (await client.exec(["nc", "db", "80"])).stdout.trim());
tell("a published port", Number.isInteger(server.getMappedPort(80)));
if (process.argv[3] === "killed") process.kill(process.pid, "SIGKILL");
await client.stop();
await server.stop();
await network.stop();
