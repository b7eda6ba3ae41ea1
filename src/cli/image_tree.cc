// Images in the command tree: the group, and the everyday verbs for them.
#include "cli/everyday.h"
#include "cli/everyday_tree.h"
#include "cli/take_over.h"
#include "cli/tree_parts.h"

namespace davit::cli {
namespace {

constexpr char kImages[] = "Images";

void AddPullAndLoad(CLI::App& image, Invocation& to) {
  {
    CLI::App& command = Command(image, "pull", "Pull an image and print its id.",
                                "davit image pull docker.io/library/redis:7\n"
                                "davit image pull --explain registry.example/team/app:1");
    auto options = std::make_shared<ImagePullOptions>();
    command.add_option("REF", options->reference, "image reference")->required();
    auto* plain = command.add_option("--creds", options->credentials,
                                     "user:password (seen by everyone on the node; prefer --creds-file)");
    command.add_option("--creds-file", options->credentials_file, "file with user:password, - for standard input")
        ->excludes(plain);
    command.add_flag("--explain", options->explain,
                     "print each endpoint that was asked, who configured it, where the credentials came from, and what "
                     "it said");
    command.callback([&to, options] { to.action = [options](const Context& c) { return ImagePull(c, *options); }; });
  }
  {
    CLI::App& command = Command(image, "load",
                                "Load images from an archive: of docker save, podman save, skopeo, or an "
                                "OCI layout directory.",
                                "davit image load -i images.tar\n"
                                "xzcat images.tar.xz | davit image load");
    auto input = std::make_shared<std::string>("-");
    auto quiet = std::make_shared<bool>(false);
    command.add_option("-i,--input", *input, "file or directory, as davitd sees it; - for standard input");
    command.add_flag("-q,--quiet", *quiet, "only names, or the id of an image without one");
    command.callback(
        [&to, input, quiet] { to.action = [input, quiet](const Context& c) { return ImageLoad(c, *input, *quiet); }; });
  }
}

void AddImport(CLI::App& image, Invocation& to) {
  {
    CLI::App& command =
        Command(image, "import",
                "Make an image of one layer of a root filesystem (a tar, packed or not), or take over the images of "
                "another engine on this node.",
                "davit image import -c 'CMD [\"/bin/app\"]' rootfs.tar.gz example.org/app:1\n"
                "davit image import --from containers-storage\n"
                "davit image import --from containerd docker.io/library/redis:7");
    auto options = std::make_shared<ImageImportOptions>();
    command
        .add_option("-c,--change", options->changes,
                    "instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, "
                    "LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR")
        ->type_size(1)
        ->allow_extra_args(false);
    command.add_option("-m,--message", options->message, "comment in the image's history");
    command.add_option("--platform", options->platform, "OS/ARCHITECTURE[/VARIANT]; the node's unless given");
    command.add_flag("-q,--quiet", options->quiet, "no progress");
    auto other = std::make_shared<TakeOverOptions>();
    auto words = std::make_shared<Ids>();
    command.add_option(
        "--from", other->from,
        "the engine whose images are taken over: containers-storage (podman, buildah, CRI-O) or containerd");
    command.add_option(
        "--store", other->where,
        "with --from: directory of containers-storage or socket of containerd; the usual one unless given");
    command.add_option("--namespace", other->name_space, "with --from containerd: its namespace")
        ->capture_default_str();
    command.add_option(
        "FILE", *words,
        "file (- for standard input) and after it the name of the image (none: its id alone); with --from "
        "the images, all that have a name when there are none");
    command.callback([&to, options, other, words] {
      if (!other->from.empty()) {
        other->images = *words;
        other->quiet = options->quiet;
        to.action = [other](const Context& c) { return ImageTakeOver(c, *other); };
        return;
      }
      if (words->empty()) throw CLI::RequiredError("FILE");
      if (words->size() > 2) throw CLI::ExtrasError(std::vector<std::string>(words->begin() + 2, words->end()));
      options->input = words->front();
      if (words->size() == 2) options->reference = words->back();
      to.action = [options](const Context& c) { return ImageImport(c, *options); };
    });
  }
}

void AddSave(CLI::App& image, Invocation& to) {
  {
    CLI::App& command = Command(image, "save",
                                "Save images into one archive, which davit, docker, podman and skopeo load again under "
                                "the same ids.",
                                "davit image save -o images.tar redis:7 nginx:1\n"
                                "  davit image save --format oci-dir -o layout redis:7\n"
                                "  davit image save redis:7 | ssh node2 davit image load");
    auto options = std::make_shared<ImageSaveOptions>();
    // Not the -o of all other commands: here it is what it is in docker and podman.
    command.add_option("-o,--output", options->output, "file, or directory of oci-dir; - for standard output");
    command.add_option("--format", options->format, "docker-archive, oci-archive or oci-dir")
        ->check(CLI::IsMember({"docker-archive", "oci-archive", "oci-dir"}))
        ->capture_default_str();
    command.add_flag("--compress", options->compress, "the layers with gzip; the ids stay");
    command.add_flag("-q,--quiet", options->quiet, "no progress");
    command.add_option("IMAGE", options->images, "image references or ids")->required();
    command.callback([&to, options] { to.action = [options](const Context& c) { return ImageSave(c, *options); }; });
  }
}

void AddTag(CLI::App& parent, Invocation& to) {
  CLI::App& command = Command(parent, "tag", "Give an image further names.", "davit tag app:1 example.org/app:latest");
  auto image = std::make_shared<std::string>();
  auto names = std::make_shared<Ids>();
  command.add_option("IMAGE", *image, "name or id")->required();
  command.add_option("NAME", *names, "further name")->required();
  command.callback([&to, image, names] { to.action = [=](const Context& c) { return TagImage(c, *image, *names); }; });
}

void AddHistory(CLI::App& parent, Invocation& to) {
  CLI::App& command = Command(parent, "history", "Show how an image was made.", "davit history redis:7");
  auto image = std::make_shared<std::string>();
  command.add_option("IMAGE", *image, "name or id")->required();
  command.callback([&to, image] { to.action = [image](const Context& c) { return History(c, *image); }; });
}

void AddImages(CLI::App& app, Invocation& to) {
  {
    CLI::App& command = Command(app, "images", "List images, the newest first.", "davit images --filter dangling=true");
    auto options = std::make_shared<ImagesOptions>();
    command.add_option("NAME", options->reference, "only images with this name, * for anything");
    command.add_flag("-q,--quiet", options->quiet, "only ids");
    command.add_flag("-a,--all", options->all, "all of them, which are shown anyway");
    command.add_flag("--digests", options->digests, "with digests");
    AddList(command, "-f,--filter", options->filters, "dangling=true|false, reference=, label=");
    command.callback([&to, options] { to.action = [options](const Context& c) { return Images(c, *options); }; });
  }
  {
    CLI::App& command = Command(app, "rmi", "Remove names of images, and images without a name.", "davit rmi redis:7");
    auto images = AddNames(command, "IMAGE");
    auto force = std::make_shared<bool>(false);
    command.add_flag("-f,--force", *force, "with all its names, and from under containers that do not run");
    command.callback(
        [&to, images, force] { to.action = [=](const Context& c) { return RemoveImages(c, *images, *force); }; });
  }
}

void AddBuild(CLI::App& app, Invocation& to) {
  CLI::App& command = Command(app, "build", "Build an image from a Dockerfile, with buildah, and print its id.",
                              "davit build -t example.org/app:1 .");
  auto options = std::make_shared<BuildOptions>();
  command.add_option("DIRECTORY", options->context, "the build's context")->required();
  command.add_option("-f,--file", options->file, "Dockerfile; Containerfile or Dockerfile of the context unless given");
  AddList(command, "-t,--tag", options->tags, "name of the image");
  AddList(command, "--build-arg", options->arguments, "KEY=VALUE for ARG");
  AddList(command, "--label", options->labels, "label KEY=VALUE");
  command.add_option("--target", options->target, "stage to end with");
  command.add_flag("--no-cache", options->no_cache, "each step anew");
  command.add_flag("--pull", options->pull, "the images of FROM anew");
  command.add_flag("-q,--quiet", options->quiet, "only the id");
  command.add_option("--iidfile", options->id_file, "file that gets the id");
  command.callback([&to, options] {
    to.takes_signals = true;
    to.action = [options](const Context& c) { return Build(c, *options); };
  });
}

void AddPrune(CLI::App& image, Invocation& to) {
  CLI::App& command = Command(image, "prune", "Remove images without a name that no container uses.",
                              "davit image prune -a --filter until=240h");
  auto all = std::make_shared<bool>(false);
  auto force = std::make_shared<bool>(false);
  auto filters = std::make_shared<Ids>();
  command.add_flag("-a,--all", *all, "those with a name, too");
  command.add_flag("-f,--force", *force, "do not ask");
  AddList(command, "--filter", *filters, "label=, until=");
  command.callback([&to, all, force, filters] {
    to.action = [=](const Context& c) -> Result<int> {
      if (!Confirmed(*force, *all ? "Remove all images that no container uses?" : "Remove images without a name?"))
        return 1;
      return ImagePrune(c, *all, *filters);
    };
  });
}

void AddImageCommands(CLI::App& app, Invocation& to) {
  CLI::App& image = Group(app, "image", "work with images");
  AddPullAndLoad(image, to);
  AddImport(image, to);
  AddSave(image, to);
  AddTag(image, to);
  AddHistory(image, to);
  AddPrune(image, to);
  {
    CLI::App& command = Command(image, "list", "List images.", "davit image list -o json");
    command.alias("ls");
    auto filter = std::make_shared<std::string>();
    auto quiet = std::make_shared<bool>(false);
    command.add_option("REF", *filter, "only this image");
    command.add_flag("-q,--quiet", *quiet, "only ids");
    command.callback([&to, filter, quiet] {
      to.action = [filter, quiet](const Context& c) { return ImageList(c, *filter, *quiet); };
    });
  }
  {
    CLI::App& command = Command(image, "status", "Show one image.", "davit image status redis:7");
    auto reference = std::make_shared<std::string>();
    command.add_option("REF", *reference, "image reference or id")->required();
    command.callback(
        [&to, reference] { to.action = [reference](const Context& c) { return ImageStatus(c, *reference); }; });
  }
  {
    CLI::App& command = Command(image, "verify",
                                "Check that images are what their digests say. What is damaged is taken out of use: a "
                                "pull fetches just it. Exits with 1 when there is damage.",
                                "davit image verify");
    auto images = std::make_shared<Ids>();
    auto quiet = std::make_shared<bool>(false);
    command.add_option("IMAGE", *images, "image references or ids; all images when there are none");
    command.add_flag("-q,--quiet", *quiet, "no progress");
    command.callback([&to, images, quiet] {
      to.action = [images, quiet](const Context& c) { return ImageVerify(c, *images, *quiet); };
    });
  }
  {
    CLI::App& command = Command(image, "remove", "Remove images.", "davit image remove redis:7");
    command.alias("rm");
    auto references = std::make_shared<Ids>();
    command.add_option("REF", *references, "image references or ids")->required();
    command.callback(
        [&to, references] { to.action = [references](const Context& c) { return ImageRemove(c, *references); }; });
  }
}

}  // namespace

void AddImageVerbs(CLI::App& app, Invocation& to) {
  const size_t before = app.get_subcommands([](const CLI::App*) { return true; }).size();
  AddImages(app, to);
  AddPullAndLoad(app, to);
  AddBuild(app, to);
  AddTag(app, to);
  AddHistory(app, to);
  AddImport(app, to);
  AddSave(app, to);
  const std::vector<CLI::App*> all = app.get_subcommands([](const CLI::App*) { return true; });
  for (size_t i = before; i < all.size(); ++i) all[i]->group(kImages);
  AddImageCommands(app, to);
}

}  // namespace davit::cli
