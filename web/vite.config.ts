import { existsSync, readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

// What `npm run dev` asks for everything that is not the page itself.
const server = process.env["BROOD_SERVE"] ?? "http://127.0.0.1:8765";

// licenses.txt: the licences of the packages whose code is in the page.
function licenses(): Plugin {
  return {
    name: "licenses",
    generateBundle(_options, bundle) {
      const folders = new Map<string, string>();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        for (const id of Object.keys(chunk.modules)) {
          const found = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(id.replace(/^\0/, ""));
          if (found?.[1] && found[2]) folders.set(found[2], found[1]);
        }
      }
      const texts = [...folders].sort().map(([name, folder]) => {
        const path = `${folder}/LICENSE`;
        if (!existsSync(path)) this.error(`${name} has no LICENSE to go with the page`);
        return `${name}\n\n${readFileSync(path, "utf8")}`;
      });
      const source = texts.join(`\n${"-".repeat(80)}\n\n`);
      this.emitFile({ type: "asset", fileName: "licenses.txt", source });
    },
  };
}

// The result is embedded into brood's server: few files, no source maps, nothing inlined as a
// data address (the page's policy has no place for that but images).
export default defineConfig({
  base: "/",
  plugins: [licenses()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    reportCompressedSize: false,
  },
  server: {
    proxy: { "/v1": { target: server, changeOrigin: true, ws: true, headers: { Origin: server } } },
  },
});
