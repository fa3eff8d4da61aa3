#include "session/folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/sys.h"

namespace brood {
namespace {

namespace fs = std::filesystem;

// A session's folder beside a file that is none of the session's business.
class FolderTest : public testing::Test {
 protected:
  FolderTest() {
    std::string name = (fs::temp_directory_path() / "brood-folder-XXXXXX").string();
    require(mkdtemp(name.data()), "a test has a place for files");
    base_ = name;
    require(static_cast<bool>(replace_file(base_ + "/secret", "secret")), "a file");
    Result<Folder> made = Folder::make(path());
    require(static_cast<bool>(made), "a folder");
    folder_ = std::move(*made);
  }
  ~FolderTest() override { fs::remove_all(base_); }

  std::string path(const std::string& name = "") const {
    return base_ + "/session" + (name.empty() ? "" : "/" + name);
  }
  std::string read(const std::string& name) const {
    Result<std::string> text = read_file(path(name), 1 << 20);
    return text ? *text : "(" + text.error().message + ")";
  }
  // The code of each way to use that path.
  std::vector<ProblemCode> codes(const std::string& name) {
    std::vector<ProblemCode> out;
    const auto add = [&out](const auto& done) {
      const auto* problem = std::get_if<Problem>(&done);
      out.push_back(problem ? problem->code : ProblemCode::kInternal);
    };
    add(folder_.list(name));
    add(folder_.get(name, 0, 0));
    add(folder_.put(name, 0, "x", 0));
    add(folder_.erase(name));
    return out;
  }
  std::string problem_of(const std::variant<uint64_t, Problem>& done) {
    const auto* problem = std::get_if<Problem>(&done);
    return problem ? problem->text : "none";
  }

  std::string base_;
  Folder folder_;
};

constexpr ProblemCode kBad = ProblemCode::kBadRequest, kForbidden = ProblemCode::kForbidden;

TEST_F(FolderTest, KeepsFilesInPieces) {
  EXPECT_EQ(std::get<uint64_t>(folder_.put("a/b/data", 0, "hello ", 0)), 6u);
  EXPECT_EQ(std::get<uint64_t>(folder_.put("a/b/data", 6, "world", 0)), 11u);
  EXPECT_EQ(read("a/b/data"), "hello world");
  const auto piece = std::get<Folder::Piece>(folder_.get("a/b/data", 6, 3));
  EXPECT_EQ(piece.bytes, "wor");
  EXPECT_EQ(piece.size, 11u);
  EXPECT_FALSE(piece.eof);
  EXPECT_TRUE(std::get<Folder::Piece>(folder_.get("a/b/data", 6, 0)).eof);
  const auto beyond = std::get<Folder::Piece>(folder_.get("a/b/data", 100, 1));
  EXPECT_TRUE(beyond.bytes.empty() && beyond.eof);
  EXPECT_EQ(std::get<uint64_t>(folder_.put("a/b/data", 0, "new", 0)), 3u);
  EXPECT_EQ(read("a/b/data"), "new");
  struct stat st;
  ASSERT_EQ(stat(path("a/b/data").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
}

TEST_F(FolderTest, APieceContinuesWhereTheFileEnds) {
  folder_.put("f", 0, "12345", 0);
  EXPECT_EQ(problem_of(folder_.put("f", 3, "x", 0)), "f has 5 bytes; the next piece begins there");
  EXPECT_EQ(problem_of(folder_.put("absent", 3, "x", 0)), "there is no file absent");
  EXPECT_EQ(read("f"), "12345");
}

TEST_F(FolderTest, APathThatIsTooLongLeavesNothing) {
  std::string deep;
  for (int i = 0; i < 101; i++)
    deep += "d/";
  EXPECT_NE(problem_of(folder_.put(deep + "f", 0, "x", 0)).find("100 folders"), std::string::npos);
  EXPECT_NE(problem_of(folder_.put("a/" + std::string(5000, 'x'), 0, "x", 0)).find("4096 bytes"),
            std::string::npos);
  EXPECT_TRUE(folder_.is_empty());
  EXPECT_EQ(problem_of(folder_.put(deep.substr(2) + "f", 0, "x", 0)), "none");
}

TEST_F(FolderTest, FilesAreLimited) {
  EXPECT_EQ(problem_of(folder_.put("f", 0, "123456", 5)), "a file may have at most 5 bytes");
  folder_.put("f", 0, "123", 5);
  EXPECT_EQ(problem_of(folder_.put("f", 3, "456", 5)), "a file may have at most 5 bytes");
  EXPECT_EQ(problem_of(folder_.put("f", UINT64_MAX, "456", 5)), "a file may have at most 5 bytes");
  EXPECT_EQ(read("f"), "123");
}

TEST_F(FolderTest, ListsWhatThereIs) {
  folder_.put("b", 0, "12", 0);
  folder_.put("a/x", 0, "", 0);
  ASSERT_EQ(mkfifo(path("c").c_str(), 0600), 0);
  const auto list = std::get<nlohmann::json>(folder_.list(""));
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0]["name"], "a");
  EXPECT_EQ(list[0]["type"], "folder");
  EXPECT_EQ(list[1]["size"], 2);
  EXPECT_EQ(list[2]["type"], "other");
  EXPECT_EQ(std::get<nlohmann::json>(folder_.list("a"))[0]["name"], "x");
}

TEST_F(FolderTest, PathsStayWithin) {
  for (const std::string& out :
       {std::string("/etc/passwd"), base_ + "/secret", std::string("a\0b", 3)})
    EXPECT_EQ(codes(out), (std::vector{kBad, kBad, kBad, kBad})) << out;
  EXPECT_EQ(codes("../secret"), (std::vector(4, kForbidden)));
  folder_.put("a/x", 0, "", 0);
  EXPECT_EQ(codes("a/../../secret"), (std::vector(4, kForbidden)));
  EXPECT_EQ(codes("..")[0], kForbidden);
  EXPECT_EQ(*read_file(base_ + "/secret", 100), "secret");
}

TEST_F(FolderTest, SymbolicLinksAreNotFollowed) {
  fs::create_symlink(base_ + "/secret", path("file"));
  fs::create_symlink(base_, path("up"));
  fs::create_symlink("/proc/self/cwd", path("magic"));
  fs::create_symlink(base_ + "/new", path("dangling"));
  folder_.put("own", 0, "own", 0);
  fs::create_symlink("own", path("inner"));
  for (const char* name : {"file", "dangling", "inner", "up", "magic"}) {
    EXPECT_EQ(std::get<Problem>(folder_.get(name, 0, 0)).code, kForbidden) << name;
    EXPECT_EQ(std::get<Problem>(folder_.put(name, 0, "x", 0)).code, kForbidden) << name;
    EXPECT_EQ(folder_.list(name).index(), 1u) << name;
  }
  EXPECT_EQ(codes("up/secret"), (std::vector(4, kForbidden)));
  EXPECT_EQ(std::get<Problem>(folder_.put("up/made/file", 0, "x", 0)).code, kForbidden);
  EXPECT_FALSE(fs::exists(base_ + "/made") || fs::exists(base_ + "/new"));
  EXPECT_EQ(std::get<nlohmann::json>(folder_.list(""))[0]["type"], "other");
  EXPECT_TRUE(std::get<bool>(folder_.erase("file")));  // the link itself
  EXPECT_TRUE(std::get<bool>(folder_.erase("up")));
  EXPECT_EQ(*read_file(base_ + "/secret", 100), "secret");
  EXPECT_EQ(read("own"), "own");
}

TEST_F(FolderTest, OtherKindsOfFilesDoNotBlock) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(std::get<Problem>(folder_.get("pipe", 0, 0)).text, "pipe is no regular file");
  EXPECT_EQ(folder_.put("pipe", 0, "x", 0).index(), 1u);
  const Fd reader(open(path("pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  EXPECT_EQ(problem_of(folder_.put("pipe", 0, "x", 0)), "pipe is no regular file");
  fs::create_directory(path("sub"));
  EXPECT_EQ(folder_.get("sub", 0, 0).index(), 1u);
  EXPECT_EQ(problem_of(folder_.put("sub", 0, "x", 0)), "sub is a folder");
  EXPECT_EQ(problem_of(folder_.put("sub/", 0, "x", 0)), "sub/ is a folder");
}

TEST_F(FolderTest, ErasesFilesAndEmptyFolders) {
  folder_.put("a/x", 0, "", 0);
  EXPECT_EQ(std::get<Problem>(folder_.erase("a")).text, "the folder a is not empty");
  EXPECT_TRUE(std::get<bool>(folder_.erase("a/x")));
  EXPECT_TRUE(std::get<bool>(folder_.erase("a")));
  EXPECT_EQ(std::get<Problem>(folder_.erase("a")).code, ProblemCode::kNotFound);
  for (const char* name : {".", "a/", "./."})
    EXPECT_EQ(folder_.erase(name).index(), 1u) << name;
}

TEST_F(FolderTest, IsCopiedWithEverything) {
  folder_.put("a/x", 0, "text", 0);
  fs::create_symlink("a/x", path("link"));
  Result<Folder> copy = Folder::make(base_ + "/copy");
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_TRUE(copy->is_empty());
  EXPECT_FALSE(folder_.is_empty());
  Result<pid_t> child = folder_.start_copy(*copy);
  ASSERT_TRUE(child) << child.error().message;
  int status = -1;
  ASSERT_EQ(waitpid(*child, &status, 0), *child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(*read_file(base_ + "/copy/a/x", 100), "text");
  EXPECT_EQ(read_link((base_ + "/copy/link").c_str()), "a/x");
  EXPECT_FALSE(Folder::make(base_ + "/copy"));  // it exists
  copy->put("a/x", 0, "changed", 0);
  EXPECT_EQ(read("a/x"), "text");
}

TEST_F(FolderTest, IsRemovedWithWhatNobodyMayRead) {
  folder_.put("a/b/x", 0, "", 0);
  fs::create_symlink(base_, path("a/up"));
  ASSERT_EQ(chmod(path("a/b").c_str(), 0), 0);
  ASSERT_EQ(chmod(path("a").c_str(), 0), 0);
  Result<pid_t> child = folder_.start_removal();
  ASSERT_TRUE(child && *child > 0);
  ASSERT_EQ(waitpid(*child, nullptr, 0), *child);
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_EQ(*read_file(base_ + "/secret", 100), "secret");
  EXPECT_EQ(*folder_.start_removal(), 0);  // once more: nothing
}

}  // namespace
}  // namespace brood
