// The files of a session: a folder at a time, upload by button or by dropping, download, delete.

import { api } from "./api";
import { confirmThat, failed, toast } from "./dialogs";
import { clear, h, iconButton, sign } from "./dom";
import { bytes } from "./format";
import type { FileEntry } from "./types";

export interface FilesHost {
  session(): string | undefined;
  mayEdit(): boolean;
}

export class Files {
  private folder_ = "";
  private readonly list_ = h("ul.files");
  private readonly path_ = h("div.path");
  private readonly progress_ = h("div.uploads", { role: "status" });
  private readonly picker_ = h("input", {
    type: "file",
    multiple: true,
    hidden: true,
    "aria-hidden": "true",
  }) as HTMLInputElement;

  constructor(
    element: HTMLElement,
    private readonly host_: FilesHost,
  ) {
    this.picker_.addEventListener("change", () => {
      void this.upload([...(this.picker_.files ?? [])]);
      this.picker_.value = "";
    });
    const tools = h(
      "div.tools",
      {},
      this.path_,
      iconButton("upload", "Upload files", () => this.picker_.click()),
      iconButton("refresh", "Read the folder again", () => void this.refresh()),
    );
    clear(element, tools, this.picker_, this.progress_, this.list_);
  }

  reset(): void {
    this.folder_ = "";
    clear(this.list_);
    clear(this.progress_);
  }

  async refresh(): Promise<void> {
    const id = this.host_.session();
    if (id === undefined) return;
    const folder = this.folder_;
    try {
      const files = await api.files(id, folder);
      if (id === this.host_.session() && folder === this.folder_) this.draw_(id, files);
    } catch (error) {
      failed("The folder could not be read")(error);
    }
  }

  // Into the folder that is shown, one after the other.
  async upload(files: File[]): Promise<void> {
    const id = this.host_.session();
    if (id === undefined || files.length === 0) return;
    if (!this.host_.mayEdit()) return toast("This session is read-only for you", "error");
    const folder = this.folder_;
    let done = 0;
    for (const file of files) {
      const bar = h("progress", {
        max: "1",
        value: "0",
        "aria-label": `Uploading ${file.name}`,
      }) as HTMLProgressElement;
      const row = h("div.upload", {}, h("span.name", {}, file.name), bar);
      this.progress_.append(row);
      try {
        await api.putFile(id, folder + file.name, file, (share) => (bar.value = share));
        done++;
      } catch (error) {
        failed(`${file.name} was not uploaded`)(error);
      }
      row.remove();
    }
    if (done > 0) toast(done === 1 ? `Uploaded ${files[0]?.name ?? ""}` : `Uploaded ${done} files`);
    await this.refresh();
  }

  private draw_(id: string, files: FileEntry[]): void {
    const parts = this.folder_.split("/").filter((part) => part !== "");
    const crumbs = parts.map((part, i) => this.crumb_(part, `${parts.slice(0, i + 1).join("/")}/`));
    clear(this.path_, this.crumb_("files", ""), ...crumbs);
    files.sort(
      (a, b) =>
        Number(b.type === "folder") - Number(a.type === "folder") || a.name.localeCompare(b.name),
    );
    const items = files.map((file) => this.item_(id, file));
    clear(
      this.list_,
      ...(items.length > 0
        ? items
        : [h("li.hint", {}, "Nothing here. Drop files to upload them.")]),
    );
  }

  private crumb_(label: string, folder: string): HTMLElement {
    const open = () => {
      this.folder_ = folder;
      void this.refresh();
    };
    return h("button.link", { type: "button", onclick: open }, label);
  }

  private item_(id: string, file: FileEntry): HTMLElement {
    const path = this.folder_ + file.name;
    if (file.type === "folder") {
      return h("li", {}, sign("folder"), this.crumb_(file.name, `${path}/`));
    }
    const name =
      file.type === "file"
        ? h(
            "a",
            {
              href: api.fileAddress(id, path),
              download: file.name,
              title: `Download ${file.name}`,
            },
            file.name,
          )
        : h("span", {}, file.name);
    const remove = () =>
      confirmThat("Delete file?", `“${file.name}” goes for good.`, "Delete", () => {
        api
          .deleteFile(id, path)
          .then(() => this.refresh())
          .catch(failed("Not deleted"));
      });
    return h(
      "li",
      { "data-file": file.name },
      sign("file"),
      name,
      h("span.facts", {}, bytes(file.size)),
      this.host_.mayEdit() && iconButton("trash", `Delete ${file.name}`, remove),
    );
  }
}
