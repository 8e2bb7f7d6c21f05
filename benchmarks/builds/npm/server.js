const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("<h1>npm</h1>\n"));
const server = app.listen(8080, "0.0.0.0");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
